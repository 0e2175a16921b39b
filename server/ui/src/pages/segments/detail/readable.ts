/** A text of the engine as one would write it. */
export const readable = (text: string) => text.replace(/Utf8\("([^"]*)"\)/g, "'$1'").replace(/count\(1\)/g, 'count(*)');
