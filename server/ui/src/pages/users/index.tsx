import { useParams } from '@tanstack/react-router';
import { Start } from './Start';
import { UserDetail } from './UserDetail';

/** Looks a user up: what they are in, why, and what happened. */
export default function UsersPage() {
  const { userId } = useParams({ strict: false });
  return userId ? <UserDetail key={userId} userId={userId} /> : <Start />;
}
