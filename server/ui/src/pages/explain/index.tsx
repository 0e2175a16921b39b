import { useExplain } from '../../api';
import { PageHeader, PlanGraph, planOf, ProblemAlert } from '../../components';

export default function ExplainPage() {
  const { data, error, dataUpdatedAt } = useExplain();
  return (
    <>
      <PageHeader title="Explain" description={data?.summary ?? 'How segments run, and what they share.'} />
      {!data && <ProblemAlert error={error} />}
      {data?.graph && <PlanGraph label="What runs" {...planOf({ graph: data.graph, at: dataUpdatedAt })} height={620} />}
    </>
  );
}
