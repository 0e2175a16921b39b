import { Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { useNavigate } from '@tanstack/react-router';
import { useAllSegments, type Segment } from '../../../api';
import { Panel, PlanGraph, SegmentName } from '../../../components';
import { dependenciesOf } from './dependencies';
import { useOwnPlan } from './ownPlan';
import classes from './detail.module.css';

function Names({ title, names, none }: { title: string; names: readonly string[]; none: string }) {
  return (
    <div className={classes.links}>
      <span>{title}</span>
      {names.length === 0 && <Text size="sm">{none}</Text>}
      {names.map((name) => (
        <SegmentName key={name} name={name} />
      ))}
    </div>
  );
}

/** What the segment reads and what reads it; each leads on. */
export function Dependencies({ segment }: { segment: Segment }) {
  const readers = segment.readBy;
  const navigate = useNavigate();
  const { data: plan } = useOwnPlan(segment);
  const { data: segments } = useAllSegments();
  const about = (name: string) => {
    const found = segments?.find((s) => s.name === name);
    // The size that the rest of the page says.
    return found && { size: name === segment.name ? segment.size : found.size, derived: found.type === 'DERIVED' };
  };
  const { nodes, edges, reads } = dependenciesOf(segment.name, plan?.graph, readers, about);
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const most = Math.max(1, nodes.filter((n) => n.kind === 'scan').length, reads.length, readers.length);
  const height = phone ? 380 : Math.min(460, 90 + 96 * most);
  const open = (id: string | null) => {
    if (id !== null && id !== segment.name && !id.startsWith('stream ')) void navigate({ to: '/segments/$name', params: { name: id } });
  };
  return (
    <Panel title="Dependencies" description="What it reads and what reads it; a box leads to its segment.">
      {/* Made anew for another height, so that all of it is in view. */}
      <PlanGraph key={height} label={`Dependencies of ${segment.name}`} nodes={nodes} edges={edges} height={height} direction={phone ? 'TB' : 'LR'} selected={segment.name} onSelect={open} />
      <div style={{ display: 'grid', gap: 4, marginTop: 10 }}>
        <Names title="Reads" names={reads} none={segment.active ? 'events only' : 'nothing while it is paused'} />
        <Names title="Read by" names={readers} none="no segment" />
      </div>
    </Panel>
  );
}
