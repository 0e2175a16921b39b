import { EmptyState, PageHeader } from '../../components';

export default function SegmentsPage() {
  return (
    <>
      <PageHeader title="Segments" description="Who counts as what, decided as events arrive." />
      <EmptyState title="Not here yet" text="This page is still to come." />
    </>
  );
}
