/** Whether one ref is a directory to the other, as `refs/heads/a` and `refs/heads/a/b`: git can have only one of them. */
export function collide(one: string, other: string): boolean {
  return one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}
