import { EmptyState, PageHeader } from '../../../components';

export default function EditorPage() {
  return (
    <>
      <PageHeader title="New segment" description="As rules or as SQL." />
      <EmptyState title="Not here yet" text="This page is still to come." />
    </>
  );
}
