import { Group, Pagination, Skeleton, Table, Text, UnstyledButton, VisuallyHidden } from '@mantine/core';
import { IconArrowDown, IconArrowUp, IconArrowsSort } from '@tabler/icons-react';
import { useState, type KeyboardEvent, type ReactNode } from 'react';
import { plural } from '../lib/format';
import { sortRows, type SortKey } from '../lib/sort';
import classes from './DataTable.module.css';

export interface Column<Row> {
  id: string;
  header: string;
  cell: (row: Row) => ReactNode;
  /** What to sort by; the column is not sortable without it. */
  sort?: (row: Row) => SortKey;
  align?: 'left' | 'right';
  width?: number | string;
  /** Whether phones do without it. */
  wide?: boolean;
  /** Whether the header is only for screen readers. */
  hideHeader?: boolean;
}

export interface DataTableProps<Row> {
  /** What the table is of, for screen readers. */
  label: string;
  columns: readonly Column<Row>[];
  /** `undefined` while they are loaded. */
  rows: readonly Row[] | undefined;
  rowKey: (row: Row) => string | number;
  initialSort?: { id: string; descending?: boolean };
  /** Rows a page; all on one page by default. */
  pageSize?: number;
  /** Shown when there are no rows: an `EmptyState`. */
  empty?: ReactNode;
  /** Makes rows clickable, and reachable by keys: arrows move, Enter opens. Put a link in a cell too. */
  onOpen?: (row: Row) => void;
  selected?: (row: Row) => boolean;
  /** Below the table, e.g. a button that loads more. */
  footer?: ReactNode;
}

function onArrows(event: KeyboardEvent<HTMLTableRowElement>, open: () => void) {
  if (event.target !== event.currentTarget) return;
  const to = event.key === 'ArrowDown' ? event.currentTarget.nextElementSibling : event.key === 'ArrowUp' ? event.currentTarget.previousElementSibling : null;
  if (to instanceof HTMLElement) {
    event.preventDefault();
    to.focus();
  } else if (event.key === 'Enter') {
    event.preventDefault();
    open();
  }
}

/** A table that sorts and pages what it is given. */
export function DataTable<Row>({ label, columns, rows, rowKey, initialSort, pageSize, empty, onOpen, selected, footer }: DataTableProps<Row>) {
  const [sort, setSort] = useState(initialSort);
  const [wanted, setPage] = useState(1);
  const by = columns.find((c) => c.id === sort?.id)?.sort;
  const sorted = rows && by ? sortRows(rows, by, sort?.descending ?? false) : rows;
  const pages = pageSize && sorted ? Math.max(1, Math.ceil(sorted.length / pageSize)) : 1;
  const page = Math.min(wanted, pages);
  const shown = pageSize ? sorted?.slice((page - 1) * pageSize, page * pageSize) : sorted;

  const onPhones = columns.filter((c) => !c.wide);
  const edges = (column: Column<Row>) => [column === onPhones[0] && 'left', column === onPhones.at(-1) && 'right'].filter(Boolean).join(' ') || undefined;

  const header = (column: Column<Row>) => {
    if (column.hideHeader) return <VisuallyHidden>{column.header}</VisuallyHidden>;
    if (!column.sort) return column.header;
    const active = sort?.id === column.id;
    const Icon = !active ? IconArrowsSort : sort.descending ? IconArrowDown : IconArrowUp;
    return (
      <UnstyledButton
        className={classes.sort}
        data-active={active || undefined}
        onClick={() => {
          setSort({ id: column.id, descending: active ? !sort.descending : column.align === 'right' });
          setPage(1);
        }}
      >
        {column.header}
        <Icon size={13} aria-hidden />
      </UnstyledButton>
    );
  };

  if (shown?.length === 0 && empty) return empty;
  return (
    <>
      <div className={classes.scroll} role="region" aria-label={label} tabIndex={0}>
        <Table className={classes.table} highlightOnHover={onOpen !== undefined} verticalSpacing={7} horizontalSpacing="sm" aria-label={label} aria-busy={rows === undefined}>
          <Table.Thead>
            <Table.Tr>
              {columns.map((column) => (
                <Table.Th
                  key={column.id}
                  w={column.width}
                  ta={column.align}
                  className={classes.th}
                  visibleFrom={column.wide ? 'sm' : undefined}
                  data-edge={edges(column)}
                  aria-sort={sort?.id === column.id ? (sort.descending ? 'descending' : 'ascending') : undefined}
                >
                  {header(column)}
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {shown === undefined &&
              Array.from({ length: Math.min(pageSize ?? 6, 8) }, (_, i) => (
                <Table.Tr key={i}>
                  {columns.map((column) => (
                    <Table.Td key={column.id} visibleFrom={column.wide ? 'sm' : undefined} data-edge={edges(column)}>
                      <Skeleton height={12} my={4} width={`${45 + ((i * 17 + column.id.length * 11) % 45)}%`} />
                    </Table.Td>
                  ))}
                </Table.Tr>
              ))}
            {shown?.map((row) => (
              <Table.Tr
                key={rowKey(row)}
                className={onOpen ? classes.open : undefined}
                data-selected={selected?.(row) || undefined}
                {...(onOpen && {
                  tabIndex: 0,
                  onClick: (event) => {
                    if (!(event.target as HTMLElement).closest('a, button, input, label') && !window.getSelection()?.toString()) onOpen(row);
                  },
                  onKeyDown: (event) => {
                    onArrows(event, () => {
                      onOpen(row);
                    });
                  },
                })}
              >
                {columns.map((column) => (
                  <Table.Td
                    key={column.id}
                    ta={column.align}
                    className={column.align === 'right' ? `num ${classes.number ?? ''}` : undefined}
                    visibleFrom={column.wide ? 'sm' : undefined}
                    data-edge={edges(column)}
                  >
                    {column.cell(row)}
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
      {(footer ?? pages > 1) && (
        <Group justify="space-between" px="md" py="xs" gap="xs">
          {pages > 1 ? (
            <>
              <Text size="sm" c="dimmed">
                {plural(sorted?.length ?? 0, 'row')}
              </Text>
              <Pagination
                size="sm"
                total={pages}
                value={page}
                onChange={setPage}
                getControlProps={(control) => ({ 'aria-label': `${control} page` })}
                getItemProps={(n) => ({ 'aria-label': `Page ${n}` })}
              />
            </>
          ) : (
            <span />
          )}
          {footer}
        </Group>
      )}
    </>
  );
}
