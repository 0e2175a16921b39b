import { Badge, Button, Fieldset, Group, NumberInput, Radio, SegmentedControl, Stack, Text, TextInput } from '@mantine/core';
import { IconBolt, IconPlayerPlay, IconPlayerStop } from '@tabler/icons-react';
import { ABOUT, faults, KINDS, MOST, PREFIX_MOST, type Kind } from './events';
import classes from './generate.module.css';

export interface Values {
  kind: Kind;
  count: number | string;
  prefix: string;
  mode: 'once' | 'on';
  rate: number | string;
  /** Minutes that times are spread over. */
  minutes: 0 | 5;
}

export const MOST_RATE = 500;

export const rateFault = (rate: number | string) =>
  typeof rate === 'number' && Number.isInteger(rate) && rate >= 1 && rate <= MOST_RATE ? undefined : `A whole number from 1 to ${MOST_RATE}`;

interface FormProps {
  values: Values;
  onChange: (change: Partial<Values>) => void;
  busy: boolean;
  running: boolean;
  onSend: () => void;
  onStop: () => void;
}

export function Form({ values, onChange, busy, running, onSend, onStop }: FormProps) {
  const wrong = faults(values);
  const rateWrong = values.mode === 'on' ? rateFault(values.rate) : undefined;
  const fine = wrong.prefix === undefined && (values.mode === 'on' ? rateWrong === undefined : wrong.count === undefined);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (fine && !busy) onSend();
      }}
    >
      <Stack gap="md" mt={6}>
        <Radio.Group
          label="Topic"
          value={values.kind}
          onChange={(kind) => {
            onChange({ kind: kind as Kind });
          }}
        >
          <div className={classes.kinds}>
            {KINDS.map((kind) => (
              <Radio.Card key={kind} value={kind} radius="md" className={classes.kind} disabled={busy} aria-label={`${ABOUT[kind].name}, ${kind}`}>
                <Group gap={8} wrap="nowrap">
                  <Radio.Indicator size="xs" />
                  <Text fw={600}>{ABOUT[kind].name}</Text>
                </Group>
                <Text size="xs" c="dimmed" className="mono wrap" mt={2}>
                  {kind}
                </Text>
              </Radio.Card>
            ))}
          </div>
        </Radio.Group>
        <About kind={values.kind} />
        <Fieldset variant="unstyled" m={0} p={0} styles={{ legend: { marginBottom: 0 } }} disabled={busy} legend={<span className={classes.legend}>How</span>}>
          <Stack gap="sm" mt={6}>
            <SegmentedControl
              fullWidth
              aria-label="How they are sent"
              value={values.mode}
              disabled={busy}
              onChange={(mode) => {
                onChange({ mode: mode as Values['mode'] });
              }}
              data={[
                { value: 'once', label: 'All at once' },
                { value: 'on', label: 'Until stopped' },
              ]}
            />
            <Group grow align="flex-start">
              {values.mode === 'once' ? (
                <NumberInput
                  label="Events"
                  description={`1 to ${MOST.toLocaleString('en')}`}
                  min={1}
                  max={MOST}
                  clampBehavior="none"
                  allowDecimal={false}
                  value={values.count}
                  error={wrong.count}
                  onChange={(count) => {
                    onChange({ count });
                  }}
                />
              ) : (
                <NumberInput
                  label="Events a second"
                  description={`1 to ${MOST_RATE}`}
                  min={1}
                  max={MOST_RATE}
                  clampBehavior="none"
                  allowDecimal={false}
                  value={values.rate}
                  error={rateWrong}
                  onChange={(rate) => {
                    onChange({ rate });
                  }}
                />
              )}
              <TextInput
                label="User prefix"
                description="100 ids take turns"
                value={values.prefix}
                maxLength={PREFIX_MOST}
                error={wrong.prefix}
                autoComplete="off"
                spellCheck={false}
                onChange={(event) => {
                  onChange({ prefix: event.currentTarget.value });
                }}
              />
            </Group>
            {values.mode === 'once' ? (
              <Radio.Group
                label="Times"
                value={String(values.minutes)}
                onChange={(minutes) => {
                  onChange({ minutes: minutes === '5' ? 5 : 0 });
                }}
              >
                <Stack gap={6} mt={4}>
                  <Radio value="5" label="Spread over the last 5 minutes" description="Those that are older than a window that has closed are late for it." disabled={busy} />
                  <Radio value="0" label="Within the last second" description="Never late, so all of them count." disabled={busy} />
                </Stack>
              </Radio.Group>
            ) : (
              <Text size="sm" c="dimmed">
                Their times are those at which they are sent. It goes on while this page is open.
              </Text>
            )}
          </Stack>
        </Fieldset>
        <Group gap="sm">
          {running ? (
            <Button key="stop" color="red" leftSection={<IconPlayerStop size={17} />} onClick={onStop} type="button">
              Stop
            </Button>
          ) : (
            <Button key="send" type="submit" disabled={!fine} loading={busy} leftSection={values.mode === 'on' ? <IconPlayerPlay size={17} /> : <IconBolt size={17} />}>
              {values.mode === 'on' ? 'Start' : `Send ${wrong.count === undefined ? Number(values.count).toLocaleString('en') : ''} ${values.count === 1 ? 'event' : 'events'}`}
            </Button>
          )}
        </Group>
      </Stack>
    </form>
  );
}

/** What its events are like. */
function About({ kind }: { kind: Kind }) {
  const { eventType, value, metadata } = ABOUT[kind];
  return (
    <dl className={classes.about} aria-label="What is made">
      <div>
        <dt>eventType</dt>
        <dd className="mono">{eventType}</dd>
      </div>
      <div>
        <dt>value</dt>
        <dd>{value}</dd>
      </div>
      {metadata.map(([key, values]) => (
        <div key={key}>
          <dt>{key}</dt>
          <dd>
            {values.map((v) => (
              <Badge key={v} size="sm" color="gray" mr={4} mb={2}>
                {v}
              </Badge>
            ))}
          </dd>
        </div>
      ))}
    </dl>
  );
}
