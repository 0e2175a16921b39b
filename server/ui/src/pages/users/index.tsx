import { EmptyState, PageHeader } from '../../components';

export default function UsersPage() {
  return (
    <>
      <PageHeader title="Users" description="What a user is in, and why." />
      <EmptyState title="Not here yet" text="This page is still to come." />
    </>
  );
}
