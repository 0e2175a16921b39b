import { QueryClient } from '@tanstack/react-query';
import { ProblemError } from '../api';

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 1_000,
      // What the service refused, it refuses again. When it was not there, polls go on by themselves.
      retry: (failures, error) => failures < 2 && !(error instanceof ProblemError && error.problem.status < 500),
      refetchOnWindowFocus: true,
      // The service may be on this machine: whether there is a network says nothing.
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
});
