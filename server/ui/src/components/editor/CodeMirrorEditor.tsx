import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, snippetCompletion, type CompletionSource } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { sql } from '@codemirror/lang-sql';
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { Annotation, Compartment, EditorState, Prec, type Extension } from '@codemirror/state';
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, placeholder as placeholderOf } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useEffectEvent, useRef, type Ref } from 'react';
import { useImperativeHandle } from 'react';
import type { TextError } from '../../api';
import { diagnosticsOf, offsetOf } from './diagnostics';
import { dialect, segmentColumns, streams } from './dialect';
import classes from './editor.module.css';

export interface SqlEditorHandle {
  focus: () => void;
  /** Puts the cursor at a line and column, both from 1. */
  goTo: (line: number, column: number) => void;
}

export interface SqlEditorProps {
  value: string;
  onChange?: (value: string) => void;
  /** Names it, for screen readers. */
  label: string;
  readOnly?: boolean;
  /** Errors at lines and columns from 1, as problems have them. */
  errors?: readonly Pick<TextError, 'message' | 'line' | 'column' | 'hint'>[];
  /** Names of segments, which are completed as tables. */
  segments?: readonly string[];
  /** More to complete. */
  complete?: CompletionSource;
  placeholder?: string;
  minHeight?: number | string;
  maxHeight?: number | string;
  /** Ctrl- or Cmd-Enter. */
  onSubmit?: () => void;
  ref?: Ref<SqlEditorHandle>;
}

const FromOutside = Annotation.define<boolean>();

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--sql-keyword)', fontWeight: '600' },
  { tag: [tags.standard(tags.name), tags.function(tags.variableName)], color: 'var(--sql-function)' },
  { tag: tags.typeName, color: 'var(--sql-function)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--sql-string)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--sql-number)' },
  { tag: tags.comment, color: 'var(--mantine-color-dimmed)', fontStyle: 'italic' },
  { tag: [tags.operator, tags.punctuation, tags.paren], color: 'var(--mantine-color-dimmed)' },
]);

const snippets: CompletionSource = (context) => {
  const word = context.matchBefore(/\w+/);
  if (!word && !context.explicit) return null;
  const snippet = (label: string, detail: string, text: string) => snippetCompletion(text, { label, detail, type: 'function', boost: 2 });
  const from = word?.from ?? context.pos;
  return {
    from,
    options: [
      snippet('TUMBLE', 'side by side', "TUMBLE(${events}, event_time, INTERVAL '${5 minutes}')"),
      snippet('HOP', 'size, one every slide', "HOP(${events}, event_time, INTERVAL '${1 minute}', INTERVAL '${10 minutes}')"),
      snippet('CUMULATE', 'growing up to size', "CUMULATE(${events}, event_time, INTERVAL '${5 minutes}', INTERVAL '${1 hour}')"),
      snippet('SESSION', 'until a pause', "SESSION(${events}, event_time, INTERVAL '${5 minutes}')"),
      snippet('EMIT CHANGES', 'as soon as it is so', 'EMIT CHANGES'),
      snippet('EMIT FINAL', 'when the window closes', 'EMIT FINAL'),
      snippet('count(*)', 'events', 'count(*)'),
      snippet('sum(value)', 'of values', 'sum(value)'),
      snippet('avg(value)', 'of values', 'avg(value)'),
      snippet('count(DISTINCT …)', 'different values', "count(DISTINCT ${metadata['category']})"),
      snippet("metadata['…']", 'of an event', "metadata['${category}']"),
      snippet('FILTER (WHERE …)', 'of an aggregate', "FILTER (WHERE event_type = '${purchase}')"),
    ],
    validFor: /^\w*$/,
  };
};

function language(segments: readonly string[], complete: CompletionSource | undefined): Extension {
  const schema = { ...streams, ...Object.fromEntries(segments.map((name) => [name, segmentColumns])) };
  const support = sql({ dialect, schema, upperCaseKeywords: true });
  const more = [snippets, ...(complete ? [complete] : [])].map((autocomplete) => dialect.language.data.of({ autocomplete }));
  return [support, ...more];
}

export default function CodeMirrorEditor({
  value,
  onChange,
  label,
  readOnly = false,
  errors,
  segments,
  complete,
  placeholder,
  minHeight = 140,
  maxHeight = 480,
  onSubmit,
  ref,
}: SqlEditorProps) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const parts = useRef({ language: new Compartment(), mode: new Compartment() });
  const names = segments?.join('\n') ?? '';

  const changed = useEffectEvent((text: string) => onChange?.(text));
  const submit = useEffectEvent(() => onSubmit?.());
  const mode = (): Extension => [
    EditorState.readOnly.of(readOnly),
    EditorView.editable.of(!readOnly),
    // What cannot be edited can still be scrolled by keys.
    EditorView.contentAttributes.of({ 'aria-label': label, ...(readOnly ? { tabindex: '0', role: 'textbox', 'aria-readonly': 'true' } : {}) }),
    ...(readOnly ? [] : [highlightActiveLine(), lintGutter()]),
  ];
  const initial = useEffectEvent(() => ({ value, mode: mode(), placeholder }));

  useEffect(() => {
    if (!place.current) return;
    const start = initial();
    const made = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: start.value,
        extensions: [
          Prec.highest(
            keymap.of([
              {
                key: 'Mod-Enter',
                run: () => {
                  submit();
                  return true;
                },
              },
            ]),
          ),
          lineNumbers(),
          history(),
          drawSelection(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          autocompletion({ icons: false }),
          syntaxHighlighting(colours),
          keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap]),
          EditorView.lineWrapping,
          ...(start.placeholder ? [placeholderOf(start.placeholder)] : []),
          parts.current.language.of([]),
          parts.current.mode.of(start.mode),
          EditorView.updateListener.of((update) => {
            if (update.docChanged && !update.transactions.some((t) => t.annotation(FromOutside))) changed(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    return () => {
      made.destroy();
      view.current = null;
    };
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (editor && editor.state.doc.toString() !== value) {
      editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value }, annotations: FromOutside.of(true) });
    }
  }, [value]);

  useEffect(() => {
    view.current?.dispatch({ effects: parts.current.language.reconfigure(language(names ? names.split('\n') : [], complete)) });
  }, [names, complete]);

  const currentMode = useEffectEvent(mode);
  useEffect(() => {
    view.current?.dispatch({ effects: parts.current.mode.reconfigure(currentMode()) });
  }, [readOnly, label]);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    const text = editor.state.doc.toString();
    const found: Diagnostic[] = diagnosticsOf(text, errors ?? []);
    editor.dispatch(setDiagnostics(editor.state, found));
  }, [errors, value]);

  useImperativeHandle(ref, () => ({
    focus: () => view.current?.focus(),
    goTo: (line, column) => {
      const editor = view.current;
      if (!editor) return;
      editor.dispatch({ selection: { anchor: offsetOf(editor.state.doc.toString(), line, column) }, scrollIntoView: true });
      editor.focus();
    },
  }));

  return <div ref={place} className={classes.editor} data-readonly={readOnly || undefined} style={{ '--min': css(minHeight), '--max': css(maxHeight) } as React.CSSProperties} />;
}

const css = (size: number | string) => (typeof size === 'number' ? `${size}px` : size);
