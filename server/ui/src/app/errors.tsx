import { Anchor, Center, Loader, Stack } from '@mantine/core';
import { IconMapQuestion } from '@tabler/icons-react';
import { Link, useRouter, type ErrorComponentProps } from '@tanstack/react-router';
import { EmptyState, PageHeader, ProblemAlert } from '../components';

export function NotFound() {
  return (
    <>
      <PageHeader title="Not found" />
      <EmptyState
        icon={IconMapQuestion}
        title="There is no page here"
        text="The address may be of something that has been renamed."
        action={
          <Anchor component={Link} to="/">
            To the dashboard
          </Anchor>
        }
      />
    </>
  );
}

export function PageError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  return (
    <Stack>
      <PageHeader title="This page broke" />
      <ProblemAlert
        error={error}
        onRetry={() => {
          reset();
          void router.invalidate();
        }}
      />
    </Stack>
  );
}

export function PageLoading() {
  return (
    <Center mih={240}>
      <Loader size="sm" aria-label="Loading" />
    </Center>
  );
}
