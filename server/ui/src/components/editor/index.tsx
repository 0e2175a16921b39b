import { Skeleton } from '@mantine/core';
import { lazy, Suspense } from 'react';
import type { SqlEditorProps } from './CodeMirrorEditor';

export type { SqlEditorHandle, SqlEditorProps } from './CodeMirrorEditor';

const CodeMirrorEditor = lazy(() => import('./CodeMirrorEditor'));

/** SQL with colours, completion and marks where errors are. CodeMirror is loaded with the first of them. */
export function SqlEditor(props: SqlEditorProps) {
  return (
    <Suspense fallback={<Skeleton height={typeof props.minHeight === 'number' ? props.minHeight : 140} radius="md" />}>
      <CodeMirrorEditor {...props} />
    </Suspense>
  );
}
