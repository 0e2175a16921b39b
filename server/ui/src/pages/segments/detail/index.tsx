import { useParams } from '@tanstack/react-router';
import { useSegment } from '../../../api';
import { PageHeader, Panel, ProblemAlert, SqlEditor } from '../../../components';

export default function DetailPage() {
  const { name } = useParams({ from: '/segments/$name' });
  const { data: segment, error } = useSegment(name);
  return (
    <>
      <PageHeader title={segment?.name ?? name} description={segment?.description} />
      {!segment && <ProblemAlert error={error} />}
      {segment && (
        <Panel title="SQL">
          <SqlEditor label={`The SQL of ${segment.name}`} value={segment.sql} readOnly />
        </Panel>
      )}
    </>
  );
}
