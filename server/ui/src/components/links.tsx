import { Anchor, Button } from '@mantine/core';
import { createLink, type LinkComponent } from '@tanstack/react-router';
import { Fragment, type ComponentProps, type CSSProperties } from 'react';

const RouterAnchor: LinkComponent<typeof Anchor<'a'>> = createLink(Anchor<'a'>) as never;

/** A name that wraps after its underscores, dots and dashes first. */
export const Breakable = ({ text }: { text: string }) =>
  text.split(/(?<=[_./-])/).map((part, i) => (
    <Fragment key={i}>
      {i > 0 && <wbr />}
      {part}
    </Fragment>
  ));

/** The name of a segment, which leads to its page. */
export function SegmentName({ name, style, fw = 550 }: { name: string; style?: CSSProperties; fw?: number }) {
  return (
    <RouterAnchor to="/segments/$name" params={{ name }} fw={fw} className="wrap name" style={style}>
      <Breakable text={name} />
    </RouterAnchor>
  );
}

/** The id of a user, which leads to their page. */
export function UserLink({ id, style }: { id: string; style?: CSSProperties }) {
  return (
    <RouterAnchor to="/users/$userId" params={{ userId: id }} className="mono wrap" style={style}>
      {id}
    </RouterAnchor>
  );
}

const ButtonAnchor = (props: ComponentProps<typeof Button<'a'>>) => <Button {...props} component="a" />;

/** A link that looks like a button: `<LinkButton to="/segments/new">New segment</LinkButton>`. */
export const LinkButton: LinkComponent<typeof Button<'a'>> = createLink(ButtonAnchor) as never;

/** The next step where events are missing. */
export const GenerateLink = () => (
  <LinkButton to="/events/generate" variant="default" size="xs">
    Generate events
  </LinkButton>
);

/** A text that leads to a page. */
export const TextLink = RouterAnchor;
