// Names for the types of the OpenAPI document, with what it leaves open made precise.
import type { components } from './schema';

type Schemas = components['schemas'];

export type Rule = Schemas['Rule'];
export type Dependency = Schemas['Dependency'];
export type SegmentInput = Schemas['SegmentInput'];
export type Stats = Schemas['Stats'];
export type Minute = Schemas['Minute'];
export type Member = Schemas['Member'];
export type Members = Schemas['Members'];
export type Compared = Schemas['Compared'];
export type Preview = Schemas['Preview'];
export type PreviewInput = Schemas['PreviewInput'];
export type Change = Schemas['Change'];
export type Membership = Schemas['Membership'];
export type KnownUser = Schemas['KnownUser'];
export type UserSegments = Schemas['UserSegments'];
export type WhyWindow = Schemas['Window'];
export type WhyInput = Schemas['Input'];
export type Style = Schemas['Style'];
export type Me = Schemas['Me'];
export type TopicInfo = Schemas['TopicInfo'];
export type Letter = Schemas['Letter'];
export type LetterCount = Schemas['LetterReason'];
export type HistoryPoint = Schemas['Sample'];
export type Partition = Schemas['Partition'];
export type SegmentResult = Schemas['SegmentResult'];
export type TextError = Schemas['TextError'];

/** An error of the API; `status` 0 and 5xx without a body of this kind mean that the service was not reached. */
export type Problem = Partial<Schemas['Problem']> & Pick<Schemas['Problem'], 'title' | 'detail' | 'status'>;

/** An event as it was sent. */
export interface UserEvent {
  userId: string;
  eventType: string;
  timestamp: number;
  value?: number | null;
  sessionId?: string | null;
  metadata?: Record<string, unknown> | null;
  topic?: string;
  offset?: number;
}

export type Why = Omit<Schemas['WhyAnswer'], 'events'> & { events: UserEvent[] };

/** How a segment was written, when it was not written as SQL. */
export interface SegmentForm {
  type?: string;
  rules?: Rule[];
  dependencies?: Dependency[];
  logicalExpression?: string;
  windowMinutes?: number;
}

export type Segment = Schemas['Segment'] & { name: string } & SegmentForm;
export type Page = Omit<Schemas['Page'], 'items'> & { items: Segment[] };

export type ServiceStatus = Schemas['ServiceStatus'];

export interface PlanGraphNode {
  id: string;
  kind: string;
  label: string;
  details: string[];
  measured?: { rows: number; nanos: number; members?: number };
  /** How many segments use it. */
  shared?: number;
  /** Names of the segments that use it. */
  segments?: string[];
}

export interface PlanGraphData {
  summary: string;
  nodes: PlanGraphNode[];
  edges: { from: string; to: string }[];
}

export type Plan = Omit<Schemas['Plan'], 'graph'> & { graph?: PlanGraphData };
