import { Badge, Button, Skeleton, Text } from '@mantine/core';
import { useState, type ComponentProps } from 'react';
import { useVersions, type Change } from '../../../api';
import { Panel, ProblemAlert, RelativeTime } from '../../../components';
import { plural } from '../../../lib/format';
import { actionInWords } from '../words';
import { diffLines } from './diff';
import { versionText, type Names } from './draft';
import classes from './editor.module.css';

const TAGS = { same: 'span', added: 'ins', removed: 'del' } as const;

/** Two texts, line by line. */
export function Diff({ before, after, label, ...rest }: { before: string; after: string; label: string } & Omit<ComponentProps<'div'>, 'children'>) {
  return (
    <div className={classes.diff} role="region" tabIndex={0} aria-label={label} {...rest}>
      {diffLines(before, after).map((line, i) => {
        const Tag = TAGS[line.kind];
        return (
          <Tag key={i} data-kind={line.kind}>
            {line.text}
          </Tag>
        );
      })}
    </div>
  );
}

interface VersionsProps {
  name: string;
  names: Names;
  onRestore: (change: Change) => void;
}

/** Who changed what, newest first; any version can be put into the forms again. */
export function Versions({ name, names, onRestore }: VersionsProps) {
  const { data: versions, error, refetch } = useVersions(name);
  const [open, setOpen] = useState<number | null>(null);
  return (
    <Panel title="Versions" description={versions && plural(versions.length, 'change')}>
      {!versions && (error ? <ProblemAlert error={error} onRetry={() => void refetch()} /> : <Skeleton height={64} />)}
      <ol className={classes.versions} aria-label="Versions, newest first">
        {versions?.map((change, i) => {
          const before = versions[i + 1];
          const opened = open === change.revision;
          const restorable = i > 0 && JSON.stringify(change.body) !== JSON.stringify(versions[0]?.body);
          return (
            <li key={change.revision}>
              <div className={classes.version}>
                <Badge color={i === 0 ? 'cobalt' : 'gray'}>version {change.version}</Badge>
                <Text size="sm" component="span">
                  {actionInWords(change.action)} by <b>{change.by}</b>
                </Text>
                <Text size="sm" c="dimmed" component="span" style={{ flex: 1 }}>
                  <RelativeTime at={change.at} />
                </Text>
                <Button
                  size="compact-sm"
                  variant="subtle"
                  aria-expanded={opened}
                  aria-label={`${before ? 'Changes' : 'Text'} of version ${change.version}`}
                  onClick={() => {
                    setOpen(opened ? null : change.revision);
                  }}
                >
                  {opened ? 'Hide' : before ? 'What changed' : 'Show'}
                </Button>
                {restorable && (
                  <Button
                    size="compact-sm"
                    variant="default"
                    aria-label={`Restore version ${change.version}`}
                    onClick={() => {
                      onRestore(change);
                    }}
                  >
                    Restore
                  </Button>
                )}
              </div>
              {opened && <Difference change={change} before={before} names={names} />}
            </li>
          );
        })}
      </ol>
    </Panel>
  );
}

function Difference({ change, before, names }: { change: Change; before: Change | undefined; names: Names }) {
  const text = versionText(change, names);
  const old = before ? versionText(before, names) : text;
  if (before && old === text) {
    return (
      <Text size="sm" c="dimmed" mt={6}>
        What it means has not changed.
      </Text>
    );
  }
  return <Diff before={old} after={text} label={`Version ${change.version}${before ? ` against version ${before.version}` : ''}`} />;
}
