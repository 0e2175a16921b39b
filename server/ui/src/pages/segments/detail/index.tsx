import { EmptyState, PageHeader } from '../../../components';

export default function DetailPage() {
  return (
    <>
      <PageHeader title="Segment" description="Its members and how they change." />
      <EmptyState title="Not here yet" text="This page is still to come." />
    </>
  );
}
