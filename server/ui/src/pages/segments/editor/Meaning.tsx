import { List, Skeleton, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { Panel, PlanGraph, planOf, SegmentName } from '../../../components';
import { plural } from '../../../lib/format';
import { EmitBadge } from '../badges';
import { plainReason } from '../words';
import type { Checked } from './check';
import classes from './editor.module.css';

const SHOWN = 4;

function Names({ names }: { names: readonly string[] }) {
  return (
    <>
      {names.slice(0, SHOWN).map((name, i) => (
        <span key={name}>
          {i > 0 && ', '}
          <SegmentName name={name} />
        </span>
      ))}
      {names.length > SHOWN && ` and ${plural(names.length - SHOWN, 'other')}`}
    </>
  );
}

/** When results come and why, what is shared, and how it would run. */
export function Meaning({ found, checking, edited }: { found: Checked | null; checking: boolean; edited: string | undefined }) {
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const graph = found?.graph;
  // What has no name yet is not called by the one that stands in for it.
  const plan = graph ? planOf({ graph, at: 0 }) : null;
  const nodes = plan?.nodes.map((n) => ((n.title === 'check' || n.title === 'query') && edited === undefined ? { ...n, title: 'this segment' } : n));
  // That results come at the close has been said above.
  const warnings = found?.warnings.filter((text) => !text.includes(found.emitReason)) ?? [];
  return (
    <Panel title="How it runs">
      {!found || !plan || !nodes ? (
        checking ? (
          <Skeleton height={120} radius="md" />
        ) : (
          <Text size="sm" c="dimmed">
            It is shown when there are no errors.
          </Text>
        )
      ) : (
        <>
          <dl className={classes.facts}>
            <div>
              <dt>Results come</dt>
              <dd>
                <EmitBadge emit={found.emit} reason={found.emitReason} />
                <div className={classes.why}>{plainReason(found.emitReason)}</div>
              </dd>
            </div>
            <div>
              <dt>Window</dt>
              <dd>
                {found.window}
                {found.reads.length > 0 && (
                  <div className={classes.why}>
                    reads <Names names={found.reads} />
                  </div>
                )}
              </dd>
            </div>
            <div>
              <dt>Shares work with</dt>
              <dd>{found.shares.length === 0 ? 'no other segment' : <Names names={found.shares} />}</dd>
            </div>
          </dl>
          {warnings.length > 0 && (
            <List size="sm" c="dimmed" mt="sm" spacing={2}>
              {warnings.map((text) => (
                <List.Item key={text}>
                  <Text size="sm" component="span">
                    {plainReason(text)}
                  </Text>
                </List.Item>
              ))}
            </List>
          )}
          <div style={{ marginTop: 16 }}>
            <PlanGraph label="Plan of this segment" nodes={nodes} edges={plan.edges} height={phone ? 460 : 230} direction={phone ? 'TB' : 'LR'} />
            <div className={classes.program}>With it, the service runs {graph?.summary.replace(' → ', ' as ')}.</div>
          </div>
        </>
      )}
    </Panel>
  );
}
