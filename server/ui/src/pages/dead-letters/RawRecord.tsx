import { VisuallyHidden } from '@mantine/core';
import type { Letter } from '../../api';
import classes from './letters.module.css';
import { dump, linesOf } from './record';
import { reasonOf } from './reasons';

/** The record as it came, with what is wrong marked. */
export function RawRecord({ letter }: { letter: Letter }) {
  if (letter.raw == null) {
    return (
      <pre className={classes.raw} tabIndex={0} aria-label="The record, as bytes">
        {dump(letter.rawHex ?? '')}
      </pre>
    );
  }
  return (
    <pre className={classes.raw} tabIndex={0} aria-label="The record">
      {linesOf(letter.raw, reasonOf(letter.reason).field).map((line, i) =>
        line.wrong ? (
          <mark key={i}>
            {line.text}
            <VisuallyHidden> (this is wrong)</VisuallyHidden>
            {'\n'}
          </mark>
        ) : (
          `${line.text}\n`
        ),
      )}
    </pre>
  );
}
