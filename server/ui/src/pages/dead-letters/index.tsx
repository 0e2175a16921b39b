import { EmptyState, PageHeader } from '../../components';

export default function DeadLettersPage() {
  return (
    <>
      <PageHeader title="Dead letters" description="Records that were not taken in, and why." />
      <EmptyState title="Not here yet" text="This page is still to come." />
    </>
  );
}
