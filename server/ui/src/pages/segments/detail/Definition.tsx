import type { Rule, Segment } from '../../../api';
import { CopyButton, Moment, Panel, SegmentName, SqlEditor } from '../../../components';
import { formatNumber } from '../../../lib/format';
import { readable } from './readable';
import classes from './detail.module.css';

const SIGNS: Record<string, string> = { GT: 'more than', GTE: 'at least', LT: 'less than', LTE: 'at most', EQ: 'exactly', NEQ: 'anything but' };

function inWords(rule: Rule, windowMinutes?: number | null) {
  const minutes = rule.windowMinutes ?? windowMinutes;
  const what = rule.attribute === 'sum' ? `sum of value of ${rule.eventType}` : `number of ${rule.eventType}`;
  return `${what} is ${SIGNS[rule.operator.toUpperCase()] ?? rule.operator} ${formatNumber(rule.value)}${minutes ? ` within ${minutes} min` : ''}`;
}

/** What the segment means: its rules where it has them, and its SQL. */
export function Definition({ segment }: { segment: Segment }) {
  const { rules = [], dependencies = [], logicalExpression } = segment;
  return (
    <Panel title="Definition" actions={<CopyButton value={segment.sql} what="the SQL" />}>
      {rules.length > 0 && (
        <ul className={classes.rule} aria-label={rules.length > 1 ? 'Rules that must all hold' : 'Rule'}>
          {rules.map((rule, i) => (
            <li key={i}>
              {i > 0 && <b>and </b>}
              {inWords(rule, segment.windowMinutes)}
            </li>
          ))}
        </ul>
      )}
      {(logicalExpression || dependencies.length > 0) && (
        <ul className={classes.rule} aria-label="Combination">
          <li>
            {logicalExpression ? (
              <code className="mono">{logicalExpression}</code>
            ) : (
              dependencies.map((d, i) => (
                <span key={i}>
                  {i > 0 && <b> {d.logicalOperator.toUpperCase() === 'NOT' ? 'AND NOT' : d.logicalOperator.toUpperCase()} </b>}
                  <SegmentName name={d.independentSegmentId} />
                </span>
              ))
            )}
          </li>
        </ul>
      )}
      <SqlEditor label={`The SQL of ${segment.name}`} value={segment.sql} readOnly />
      <dl className={classes.facts}>
        {segment.emitReason && (
          <div>
            <dt>{segment.emit === 'FINAL' ? 'Decided at the close' : 'Decided at once'}</dt>
            <dd>{readable(segment.emitReason)}</dd>
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
