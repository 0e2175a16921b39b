import { ActionIcon, Badge, Button, Code, List, Stack, Text, TextInput, Title } from '@mantine/core';
import { IconFocus2, IconSearch, IconX } from '@tabler/icons-react';
import { useState, type ReactNode } from 'react';
import { Panel, SegmentName, type MeasuredPlan } from '../../components';
import { formatCompact, formatCount, formatDuration, formatRate, plural } from '../../lib/format';
import classes from './explain.module.css';
import { formatLoad } from './load';
import { effortOf, factsOf, operatorOf, OPERATORS, titleOf, usersOf, type Links } from './program';

interface DetailsProps {
  id: string;
  plan: MeasuredPlan;
  before?: MeasuredPlan | undefined;
  links: Links;
  /** Of a group. */
  members?: readonly string[] | undefined;
  /** Whether segments have pages. */
  known: boolean;
  onSelect: (id: string | null) => void;
  onFocus: (segment: string) => void;
}

/** All that is known of a node, or what is in a group. */
export function Details(props: DetailsProps) {
  const { id, links, members, onSelect } = props;
  const first = links.node.get(members?.[0] ?? id);
  if (!first) return null;
  const operator = OPERATORS[operatorOf(first)];
  return (
    <Panel
      title={members ? `${plural(members.length, operator.name.toLowerCase())} in a group` : operator.name}
      description={members ? 'They are alike, or used by few segments.' : operator.does}
      actions={
        <ActionIcon
          aria-label="Close the details"
          onClick={() => {
            onSelect(null);
          }}
        >
          <IconX size={17} />
        </ActionIcon>
      }
    >
      {members ? <Nodes {...props} ids={members} label="In this group" /> : <One {...props} />}
    </Panel>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <Title order={3} fz="sm" c="dimmed" fw={550} mb={4}>
        {title}
      </Title>
      {children}
    </section>
  );
}

const Codes = ({ texts }: { texts: readonly string[] }) => (
  <List listStyleType="none" spacing={4}>
    {texts.map((text) => (
      <List.Item key={text}>
        <Code className="wrap">{text}</Code>
      </List.Item>
    ))}
  </List>
);

function One(props: DetailsProps) {
  const { id, plan, before, links, known, onFocus } = props;
  const node = links.node.get(id);
  if (!node) return null;
  const [facts, effort] = [factsOf(node), effortOf(node, plan.at, before)];
  const segment = node.kind === 'segment';
  const total = plan.graph.nodes.reduce((sum, n) => sum + (n.measured?.nanos ?? 0), 0);
  const users = usersOf(links, id).filter((user) => user !== id);
  const reads = links.reads.get(id) ?? [];
  const numbers: [string, string][] = effort
    ? [
        ['Rows a second', effort.rowRate === null ? '–' : formatRate(effort.rowRate)],
        ['Rows so far', formatCount(effort.rows)],
        ...(effort.perRow === null ? [] : [['Time a row', formatLoad.perRow(effort.perRow)] satisfies [string, string]]),
        ...(effort.load === null ? [] : [['Of a core', formatLoad.share(effort.load)] satisfies [string, string]]),
        ...(effort.nanos > 0
          ? ([
              ['Time so far', formatDuration(effort.nanos / 1e6)],
              ['Of all time', `${Math.round((effort.nanos * 100) / total)} %`],
            ] satisfies [string, string][])
          : []),
        ...(node.measured?.members === undefined ? [] : [['Members', formatCompact(node.measured.members)] satisfies [string, string]]),
      ]
    : [];
  return (
    <Stack gap="md">
      <Text fw={600} className="wrap">
        {segment && known ? <SegmentName name={titleOf(node)} fw={600} /> : titleOf(node)}
      </Text>
      {segment && (
        <Button
          variant="light"
          size="xs"
          leftSection={<IconFocus2 size={15} />}
          onClick={() => {
            onFocus(titleOf(node));
          }}
        >
          Show only its way
        </Button>
      )}
      {numbers.length > 0 && (
        <dl className={classes.numbers}>
          {numbers.map(([term, value]) => (
            <div key={term}>
              <dt>{term}</dt>
              <dd className="num">{value}</dd>
            </div>
          ))}
        </dl>
      )}
      {facts.condition && (
        <Part title={`Condition, by ${facts.condition.how}`}>
          <Codes texts={[facts.condition.text]} />
        </Part>
      )}
      {facts.emit && (
        <Part title="Results">
          <Badge color={facts.emit.when === 'FINAL' ? 'orange' : 'teal'} size="sm">
            {facts.emit.when === 'FINAL' ? 'when the window closes' : 'at once, and at the close'}
          </Badge>
          {facts.emit.why && (
            <Text size="sm" mt={4} className="wrap">
              As {facts.emit.why}.
            </Text>
          )}
        </Part>
      )}
      {facts.slots.length > 0 && (
        <Part title={plural(facts.slots.length, 'slot')}>
          <Codes texts={facts.slots} />
        </Part>
      )}
      {facts.columns.length > 0 && (
        <Part title={plural(facts.columns.length, 'column')}>
          <Codes texts={facts.columns} />
        </Part>
      )}
      {facts.masks.length > 0 && (
        <Part title="Decided once for all">
          <Codes texts={facts.masks} />
        </Part>
      )}
      {reads.length > 0 && (
        <Part title="Reads">
          <Nodes {...props} ids={reads} label="Reads" />
        </Part>
      )}
      {users.length > 0 && (
        <Part title={`Used by ${plural(users.length, 'segment')}`}>
          <Nodes {...props} ids={users} label="Used by" />
        </Part>
      )}
    </Stack>
  );
}

const SHOWN = 40;

/** Nodes by name, to go on to. */
function Nodes({ ids, label, links, onSelect }: DetailsProps & { ids: readonly string[]; label: string }) {
  const [text, setText] = useState('');
  const wanted = text.trim().toLowerCase();
  const found = ids.flatMap((id) => links.node.get(id) ?? []).filter((n) => titleOf(n).toLowerCase().includes(wanted));
  return (
    <Stack gap={6}>
      {ids.length > 12 && (
        <TextInput
          size="xs"
          aria-label={`Search in ${plural(ids.length, 'name')}`}
          placeholder={`Search in ${formatCount(ids.length)}`}
          leftSection={<IconSearch size={14} />}
          value={text}
          onChange={(event) => {
            setText(event.currentTarget.value);
          }}
        />
      )}
      <ul className={classes.list} aria-label={label} tabIndex={0}>
        {found.slice(0, SHOWN).map((n) => (
          <li key={n.id}>
            <button
              type="button"
              onClick={() => {
                onSelect(n.id);
              }}
            >
              {titleOf(n)}
            </button>
          </li>
        ))}
      </ul>
      {found.length === 0 && <Text size="sm">No name has this in it.</Text>}
      {found.length > SHOWN && (
        <Text size="sm" c="dimmed">
          The first {SHOWN} of {formatCount(found.length)}; search for others.
        </Text>
      )}
    </Stack>
  );
}
