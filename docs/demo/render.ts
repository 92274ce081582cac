export interface Line {
  kind: 'command' | 'output';
  text: string;
  /** ms since the line before */
  afterMs: number;
}

const columns = 108;
const rows = 26;
const lineHeight = 19;
const padding = 16;
const size = { width: columns * 8.05 + 2 * padding, height: rows * lineHeight + 2 * padding };

/** Pauses of the recording, in s: before a command, for each typed letter, and the longest between two lines. */
const pause = { command: 1.4, letter: 0.04, line: 0.9, end: 5 };

/** Draws a recorded terminal session as an SVG that plays in a loop, and scrolls as a terminal does. */
export function render(lines: Line[]): string {
  const shown = schedule(lines);
  const total = (shown.at(-1)?.at ?? 0) + pause.end;
  const percent = (at: number) => ((at / total) * 100).toFixed(3);
  const texts = shown.map(({ kind, text, at }, index) => {
    const y = padding + (index + 1) * lineHeight - 5;
    const keyframes = `@keyframes l${index}{0%,${percent(at)}%{opacity:0}${percent(at + 0.01)}%,100%{opacity:1}}`;
    const prompt = kind === 'command' ? '<tspan class="prompt">$ </tspan>' : '';
    return {
      keyframes,
      element: `<text class="${kind}" x="${padding}" y="${y}" style="animation-name:l${index}">${prompt}${escapeText(text)}</text>`,
    };
  });
  const offsets = new Map(
    shown.map(({ at }, index) => [percent(at), Math.max(0, index + 1 - rows) * lineHeight]),
  );
  const scrolls = [...offsets]
    .filter(([, offset]) => offset > 0)
    .map(([at, offset]) => `${at}%{transform:translateY(-${offset}px)}`);
  const last = Math.max(0, shown.length - rows) * lineHeight;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="Two pushes and a rollback in a terminal">
<style>
rect{fill:#161b22}
text{font:13.4px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#c9d1d9;white-space:pre;animation-duration:${total.toFixed(2)}s;animation-iteration-count:infinite;animation-timing-function:step-end}
.command{fill:#fff;font-weight:600}.prompt{fill:#7ee787}
#screen{animation:scroll ${total.toFixed(2)}s step-end infinite}
@keyframes scroll{${scrolls.join('')}100%{transform:translateY(-${last}px)}}
${texts.map(({ keyframes }) => keyframes).join('\n')}
@media(prefers-reduced-motion:reduce){text,#screen{animation:none}#screen{transform:translateY(-${last}px)}}
</style>
<rect width="100%" height="100%" rx="8"/>
<svg y="${padding / 2}" height="${size.height - padding}"><g id="screen">
${texts.map(({ element }) => element).join('\n')}
</g></svg>
</svg>
`;
}

function schedule(lines: Line[]): (Line & { at: number })[] {
  let at = 0;
  return lines.map((line) => {
    at += line.kind === 'command' ? pause.command : Math.min(line.afterMs / 1000, pause.line);
    const shownAt = at;
    if (line.kind === 'command') at += line.text.length * pause.letter;
    return { ...line, text: cut(line.text), at: shownAt };
  });
}

function cut(text: string): string {
  return text.length <= columns ? text : `${text.slice(0, columns - 1)}…`;
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
