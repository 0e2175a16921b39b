// Why records are refused, in words, and what to do about it.

export interface Reason {
  name: string;
  /** How to repair it. */
  repair: string;
  /** The field that is wrong. */
  field?: string;
}

const user = { field: 'userId', repair: 'Give userId as a text of 1 to 256 bytes.' };
const type = { field: 'eventType', repair: 'Give eventType as a text, such as "purchase".' };
const time = { field: 'timestamp', repair: 'Give timestamp as a whole number of milliseconds since the epoch.' };

const REASONS: Record<string, Reason> = {
  too_large: { name: 'Too large', repair: 'Send less in one record; leave out what no segment needs.' },
  not_framed: { name: 'No schema id', repair: 'Write it with a serializer of the schema registry: a zero byte and the id of its schema come first.' },
  unknown_schema: { name: 'Unknown schema', repair: 'Register the schema it was written with; is it the registry that its producer uses?' },
  unusable_schema: { name: 'Schema cannot be used', repair: 'The schema is of another kind than source.format says, or is broken; the log says which.' },
  not_avro: { name: 'Not of its Avro schema', repair: 'Write it with the schema whose id it carries. Often it was cut off.' },
  not_protobuf: { name: 'Not of its Protobuf message', repair: 'Write it with the message that its schema id and indexes name. Often it was cut off.' },
  not_utf8: { name: 'Not UTF-8', repair: 'Send the record as UTF-8 text.' },
  too_deep: { name: 'Nested too deep', repair: 'Flatten it: metadata is read one level deep.' },
  not_json: { name: 'Not JSON', repair: 'A record is one JSON object. Often it was cut off, or a quote is missing.' },
  not_object: { name: 'Not an object', repair: 'A record is one JSON object, not a list or a single value.' },
  missing_user_id: { name: 'No user', ...user },
  invalid_user_id: { name: 'User is not a text', ...user },
  empty_user_id: { name: 'User is empty', ...user },
  user_id_too_long: { name: 'User is too long', ...user },
  missing_event_type: { name: 'No event type', ...type },
  invalid_event_type: { name: 'Event type is not a text', ...type },
  empty_event_type: { name: 'Event type is empty', ...type },
  missing_timestamp: { name: 'No time', ...time },
  invalid_timestamp: { name: 'Time is not in milliseconds', ...time },
  invalid_value: { name: 'Value is not a number', field: 'value', repair: 'Give value as a number without quotes, or leave it out.' },
  invalid_session_id: { name: 'Session is not a text', field: 'sessionId', repair: 'Give sessionId as a text, or leave it out.' },
  invalid_metadata: { name: 'Metadata is not an object', field: 'metadata', repair: 'Give metadata as an object of keys and values, or leave it out.' },
  future_timestamp: { name: 'In the future', field: 'timestamp', repair: 'Check the clock of the sender, and that the time is in milliseconds rather than microseconds.' },
  late: {
    name: 'Late',
    field: 'timestamp',
    repair:
      'Its window had closed when it came; it still counts in longer windows that were open. If many are late, raise time.out_of_orderness or time.allowed_lateness. Sent again with the same time, it is late again.',
  },
};

export const reasonOf = (reason: string): Reason => REASONS[reason] ?? { name: reason.replaceAll('_', ' '), repair: 'Compare it with the format of events.' };
