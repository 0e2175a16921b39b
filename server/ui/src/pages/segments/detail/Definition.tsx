import { Text } from '@mantine/core';
import { useAllSegments, type Segment } from '../../../api';
import { CopyButton, Moment, Panel, SqlEditor } from '../../../components';
import { expressionOf, namesOf } from '../../users/expression';
import { plainReason, rulesInWords } from '../words';
import classes from './detail.module.css';

/** Rules or a combination as a sentence; nothing for SQL. */
function inWords(segment: Segment, nameOf: (idOrName: string) => string): string {
  const { rules, dependencies, logicalExpression, windowMinutes } = segment;
  if (rules?.length) return rulesInWords(rules, windowMinutes ?? 5);
  if (!dependencies?.length && !logicalExpression) return '';
  return `Users in ${expressionOf(segment, '', nameOf)}.`;
}

/** What the segment means: its rules where it has them, and its SQL. */
export function Definition({ segment }: { segment: Segment }) {
  const { data: segments } = useAllSegments();
  const words = inWords(segment, namesOf(segments));
  return (
    <Panel title="Definition" actions={<CopyButton value={segment.sql} what="the SQL" />}>
      {words && (
        <Text size="md" mb="sm" className="wrap">
          {words}
        </Text>
      )}
      <SqlEditor label={`The SQL of ${segment.name}`} value={segment.sql} readOnly />
      <dl className={classes.facts}>
        {segment.emitReason && (
          <div>
            <dt>{segment.emit === 'FINAL' ? 'Decided at the close' : 'Decided at once'}</dt>
            <dd>{plainReason(segment.emitReason)}</dd>
          </div>
        )}
        <div>
          <dt>Created</dt>
          <dd>
            <Moment at={segment.createdAt} />
          </dd>
        </div>
        <div>
          <dt>Id</dt>
          <dd className="mono">{segment.id}</dd>
        </div>
      </dl>
    </Panel>
  );
}
