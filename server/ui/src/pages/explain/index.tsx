import { EmptyState, PageHeader } from '../../components';

export default function ExplainPage() {
  return (
    <>
      <PageHeader title="Explain" description="How segments run, and what they share." />
      <EmptyState title="Not here yet" text="This page is still to come." />
    </>
  );
}
