import { EmptyState, PageHeader } from '../../components';

export default function GeneratePage() {
  return (
    <>
      <PageHeader title="Event generator" description="Realistic events, to try segments out." />
      <EmptyState title="Not here yet" text="This page is still to come." />
    </>
  );
}
