/** `1 worker`, `2 workers`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `a, b, c and 7 more`: for messages that must not be as long as what they are about. */
export function listSome(items: string[], most: number, show = (item: string) => item): string {
  const more = items.length > most ? ` and ${items.length - most} more` : '';
  return `${items.slice(0, most).map(show).join(', ')}${more}`;
}
