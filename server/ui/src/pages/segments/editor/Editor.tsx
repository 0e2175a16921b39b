import { Alert, Badge, Button, Stack, TextInput } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconGitMerge, IconHistory } from '@tabler/icons-react';
import { useBlocker, useNavigate } from '@tanstack/react-router';
import { useRef, useState } from 'react';
import { ProblemError, useCreateSegment, useMe, usePreview, useReplaceSegment, type Change, type Segment, type SegmentInput } from '../../../api';
import { ConfirmModal, LinkButton, PageHeader, ProblemAlert, TextLink } from '../../../components';
import { Builder } from './Builder';
import { EVENT_TYPES } from './complete';
import { Conflict } from './Conflict';
import { bodyOf, draftOf, inWords, isChanged, newDraft, withVersion, type Names } from './draft';
import classes from './editor.module.css';
import { Meaning } from './Meaning';
import { PreviewPanel } from './PreviewPanel';
import { nameIn, renameIn } from './sqlName';
import { SqlPanel } from './SqlPanel';
import { useDraft } from './useDraft';
import { Versions } from './Versions';

interface EditorProps {
  /** What is edited, as it is now; a new one without it. */
  segment: Segment | undefined;
  segments: readonly Segment[];
  names: Names;
  /** The version whose text one begins with; it may be none of the segment's. */
  from?: { version: number; change: Change | undefined };
}

const statusOf = (error: unknown) => (error instanceof ProblemError ? error.problem.status : null);
const nameTaken = (error: unknown) => error instanceof ProblemError && error.problem.type === '/problems/name-taken';

/** A segment in two forms that follow each other, with what it means, a preview, and its versions. */
export function Editor({ segment, segments, names, from }: EditorProps) {
  const navigate = useNavigate();
  const [base, setBase] = useState(segment);
  const start = () => (base ? draftOf(base, names) : newDraft());
  const [saved, setSaved] = useState(start);
  const [opened] = useState(() => (from?.change ? withVersion(saved, from.change, names) : saved));
  const { draft, setDraft, setForm, setSql, meaning, lacks, check } = useDraft(() => opened, base?.id, names);
  const { data: me } = useMe();
  const mayWrite = me?.role !== 'read';

  const [nameAsked, setNameAsked] = useState(false);
  const nameField = useRef<HTMLInputElement>(null);
  const left = useRef(false);
  const changed = isChanged(draft, saved);
  // A version that was only looked at is no loss.
  const atStake = () => changed && isChanged(draft, opened) && !left.current;
  const blocker = useBlocker({
    shouldBlockFn: atStake,
    enableBeforeUnload: atStake,
    withResolver: true,
  });

  const create = useCreateSegment();
  const replace = useReplaceSegment();
  const [conflict, setConflict] = useState(false);
  const saving = create.isPending || replace.isPending;
  const failure: unknown = create.error ?? replace.error;

  const preview = usePreview();
  const [span, setSpan] = useState('all');
  const [previewed, setPreviewed] = useState<SegmentInput | null>(null);
  const ready = check.result?.ok === true;
  const errors = check.result && !check.result.ok ? check.result.errors : [];

  const runPreview = () => {
    if (!meaning || !ready) return;
    setPreviewed(meaning);
    // Under the name that runs, the answer also says who would enter and leave.
    const name = base?.name ?? 'new segment';
    const sql = meaning.sql == null ? {} : { sql: renameIn(meaning.sql, name) };
    const against = base?.active ? { against: 'current' } : {};
    preview.mutate({ ...meaning, name, ...sql, ...against, ...(span === 'all' ? {} : { from: Date.now() - Number(span) * 60_000 }) });
  };

  const done = (stored: Segment, text: string) => {
    left.current = true;
    notifications.show({ color: 'teal', message: text });
    void navigate({ to: '/segments/$name', params: { name: stored.name } });
  };

  const wrongName = () => {
    const asked = draft.name.trim() === '';
    setNameAsked(asked);
    if (asked) nameField.current?.focus();
    return asked;
  };

  const activate = (active: boolean) => {
    if (wrongName()) return;
    create.mutate({ ...bodyOf(draft), active }, { onSuccess: (s) => { done(s, active ? `${s.name} is active` : `${s.name} is saved, and paused`); } });
  };

  const save = (version: number) => {
    if (!base || wrongName()) return;
    replace.mutate(
      { name: base.id, body: bodyOf(draft), version },
      {
        onSuccess: (s) => { done(s, `${s.name} is saved as version ${s.version}`); },
        onError: (error) => { if (statusOf(error) === 412) setConflict(true); },
      },
    );
  };

  const takeTheirs = () => {
    if (!segment) return;
    const theirs = draftOf(segment, names);
    setConflict(false);
    replace.reset();
    setBase(segment);
    setSaved(theirs);
    setDraft(theirs);
  };

  const setName = (name: string) => {
    setNameAsked(false);
    create.reset();
    replace.reset();
    setDraft((d) => ({ ...d, name, ...(d.side === 'sql' ? { sql: renameIn(d.sql, name) } : {}) }));
  };

  const outdated = base && segment && segment.version > base.version;
  const cannotSave = !mayWrite || !ready;
  const byForm = draft.side === 'form';
  const title = base ? `Edit ${base.name}` : 'New segment';
  return (
    <>
      <PageHeader
        title={title}
        description={base ? `Version ${base.version}, saved by ${base.updatedBy}` : 'As rules or as SQL; each follows the other.'}
        aside={base && !base.active && <Badge color="gray">paused</Badge>}
        actions={
          <>
            {base ? (
              <LinkButton to="/segments/$name" params={{ name: base.name }} variant="default">
                Cancel
              </LinkButton>
            ) : (
              <LinkButton to="/segments" variant="default">
                Cancel
              </LinkButton>
            )}
            {base ? (
              <Button loading={saving} disabled={cannotSave || !changed} onClick={() => { save(base.version); }}>
                Save
              </Button>
            ) : (
              <>
                <Button variant="default" disabled={cannotSave || saving} onClick={() => { activate(false); }}>
                  Save as paused
                </Button>
                <Button loading={saving} disabled={cannotSave} onClick={() => { activate(true); }}>
                  Activate
                </Button>
              </>
            )}
          </>
        }
      />
      <Stack gap="md">
        {!mayWrite && <Alert color="gray">Your token may only read, so nothing can be saved.</Alert>}
        {outdated && (
          <Alert color="orange" icon={<IconGitMerge size={18} />} title="Somebody else changed this segment">
            {segment.updatedBy} saved version {segment.version} since you began.{' '}
            <Button size="compact-sm" variant="subtle" color="orange" onClick={() => { setConflict(true); }}>
              See what changed
            </Button>
          </Alert>
        )}
        {base && from && <FromVersion {...from} base={base} />}
        {failure != null && statusOf(failure) !== 412 && !nameTaken(failure) && <ProblemAlert error={failure} />}
        <div className={classes.about}>
          <TextInput
            ref={nameField}
            label="Name"
            required
            value={draft.name}
            maxLength={128}
            placeholder="High Spenders"
            autoComplete="off"
            error={nameAsked ? 'Give it a name.' : nameTaken(failure) ? 'There is another segment of this name.' : undefined}
            onChange={(event) => { setName(event.currentTarget.value); }}
          />
          <TextInput
            label="Description"
            value={draft.description}
            placeholder="What it is for"
            autoComplete="off"
            onChange={(event) => {
              const description = event.currentTarget.value;
              setDraft((d) => ({ ...d, description }));
            }}
          />
        </div>
        <div className={classes.forms}>
          <Builder
            form={draft.form}
            fits={draft.formFits}
            stale={!byForm && errors.length > 0}
            onChange={setForm}
            segments={segments.filter((s) => s.id !== base?.id)}
            eventTypes={EVENT_TYPES}
            words={lacks ?? inWords(draft.form)}
            errors={byForm ? errors.map((e) => e.message) : []}
          />
          <SqlPanel
            sql={draft.sql}
            onChange={(sql) => {
              setSql(sql);
              const name = nameIn(sql);
              if (name) setDraft((d) => ({ ...d, name }));
            }}
            errors={byForm ? [] : errors}
            checking={check.checking}
            right={ready}
            fits={byForm ? draft.sqlFits : true}
            segments={segments.map((s) => s.name)}
            onSubmit={runPreview}
          />
        </div>
        {check.failure && <ProblemAlert error={check.failure} />}
        <PreviewPanel
          span={span}
          onSpan={setSpan}
          onRun={runPreview}
          running={preview.isPending}
          ready={ready}
          preview={preview.data}
          stale={JSON.stringify(previewed) !== JSON.stringify(meaning)}
          error={preview.error}
          errors={errors}
        />
        <Meaning found={check.last} checking={check.checking} edited={base?.name} />
        {base && (
          <Versions
            name={base.name}
            names={names}
            onRestore={(change) => {
              setDraft((d) => withVersion(d, change, names));
              notifications.show({ message: `Version ${change.version} is in the forms. Save to make it run.` });
              window.scrollTo({ top: 0 });
            }}
          />
        )}
      </Stack>
      {base && segment && (
        <Conflict
          opened={conflict}
          onClose={() => { setConflict(false); }}
          base={base}
          now={segment}
          names={names}
          onTakeTheirs={takeTheirs}
          onKeepMine={() => { save(segment.version); }}
          saving={saving}
        />
      )}
      <ConfirmModal
        opened={blocker.status === 'blocked'}
        onClose={() => { blocker.reset?.(); }}
        title="Leave without saving?"
        confirm="Leave"
        danger
        onConfirm={() => { blocker.proceed?.(); }}
      >
        What you wrote is lost.
      </ConfirmModal>
    </>
  );
}

/** Says that this is not what runs. */
function FromVersion({ version, change, base }: NonNullable<EditorProps['from']> & { base: Segment }) {
  if (version === base.version) return null;
  const newest = (
    <TextLink to="/segments/$name/edit" params={{ name: base.name }} search={{}} inherit underline="always">
      Version {base.version}
    </TextLink>
  );
  return (
    <Alert color={change ? 'cobalt' : 'orange'} icon={<IconHistory size={18} />} title={change ? `This is version ${version}` : `There is no version ${version}`}>
      {change ? <>{newest} is the newest. Saving what is here makes version {base.version + 1}; the others stay as they are.</> : <>This is {newest}, the newest.</>}
    </Alert>
  );
}
