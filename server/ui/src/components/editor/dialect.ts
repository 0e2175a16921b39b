import { PostgreSQL, SQLDialect } from '@codemirror/lang-sql';

const spec = PostgreSQL.spec;

/** Cohort's SQL: that of DataFusion, with segments, windows and EMIT. */
export const dialect = SQLDialect.define({
  ...spec,
  keywords:
    'create or replace segment if not exists with retain backfill as emit changes final drop alter pause resume show segments explain analyze verbose ' +
    'select from where group by having join inner left right full outer anti semi on using union all except intersect distinct filter and is in ' +
    'between like ilike case when then else end interval order asc desc limit null true false cast values descriptor table',
  builtin: 'tumble hop cumulate session',
  types: 'utf8 varchar text bigint int integer double float boolean timestamp date',
});

const event = ['user_id', 'event_type', 'event_time', 'value', 'session_id', 'metadata', 'topic'];

/** Tables and columns, beside the segments. */
export const streams: Record<string, string[]> = { events: event, order_events: event, activity_events: event, install_events: event };

/** What a segment is to another one that reads it. */
export const segmentColumns = ['user_id', 'window_start', 'window_end', 'value'];
