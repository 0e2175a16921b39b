// Asks for the status, which every page shows, while the code of the pages is still being loaded; src/api/client.ts takes it.
{
  const token = sessionStorage.getItem('cohort.token') ?? localStorage.getItem('cohort.token');
  window.early = fetch('/api/v1/status', token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  // Whoever takes it sees that it failed.
  window.early.catch(() => undefined);
}
