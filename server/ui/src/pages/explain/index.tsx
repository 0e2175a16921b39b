import { SegmentedControl } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { PageHeader } from '../../components';
import { Running } from './Running';
import { Statement } from './Statement';

/** How segments run and what they share: all of them, or a text. */
export default function ExplainPage() {
  const { of, ...look } = useSearch({ from: '/explain' });
  const go = useNavigate({ from: '/explain' });
  return (
    <>
      <PageHeader
        title="Explain"
        description="How segments run together, what they share, and what it costs."
        actions={
          <SegmentedControl
            aria-label="Explain"
            value={of ?? 'running'}
            onChange={(value) => void go({ search: value === 'text' ? { of: 'text' } : {} })}
            data={[
              { value: 'running', label: 'What runs' },
              { value: 'text', label: 'A statement' },
            ]}
          />
        }
      />
      {of === 'text' ? (
        <Statement />
      ) : (
        <Running look={look} onLook={(change) => void go({ search: (now) => ({ ...now, ...change }), replace: true, resetScroll: false })} />
      )}
    </>
  );
}
