import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { parse } from '@babel/parser';

/** Files and folders that still have findings; remove an entry once `npm run lint` reports none of it. */
const pending: string[] = [];

/** Words that no doc comment may start with: a verb or a noun phrase comes first. */
const openings = /^(What|Returns whether|Whether|Where|How|Those|Of|It|They|As|So|Such|Who|Whoever)\b/;

/** Words that no message, help text, test title or page may have, and what to write instead. */
const banned: [words: RegExp, instead: string][] = [
  [/\b(told|tells?|telling)\b/i, 'report, log, emit or show'],
  [/\bwhoever\b/i, 'name the person or the program'],
  [/\b(is|are|was) over\b/i, '"has ended" or "exceeds"'],
  [/(?<!\bthere )\bis no (?!longer\b)/i, '"Invalid …: x (expected …)"'],
  [/\bthere is no way\b/i, '"cannot"'],
  [/\b(goes|going|go) on\b/i, '"continues"'],
  [/\b(gives?|gave|giving) way\b/i, 'name the step'],
  [/\b(makes?|made|making) room\b/i, 'name the step'],
  [/\bworthless\b/i, '"revoke"'],
  [/\bin a way\b/i, 'name the cause'],
  [/\bcomes? round\b/i, 'name the state'],
  [/\bas it is\b(?! \w+ed\b)/i, 'name the state'],
  [/\bof (ours|theirs)\b/i, 'name the owner'],
  [/\b(stands?|stood) (between|before|in front)\b/i, 'name the relation'],
  [/\b(stays?|stayed|left) behind\b/i, '"remains" or "is not removed"'],
  [/\b(leads?|led) (to|here|there)\b/i, '"route", "resolve" or "cause"'],
  [/\bin vain\b/i, '"failed"'],
  [/\banew\b/i, '"again"'],
  [/\bend(s|ed|ing)? TLS\b/i, '"terminate TLS"'],
];

/** Calls with the message of an error, and the position of the message among the arguments. */
const errors: Record<string, number> = {
  AppError: 1,
  UsageError: 0,
  invalid: 0,
  refused: 0,
  cancelled: 0,
  unreachable: 0,
  unreadable: 0,
  unsafe: 0,
  unsupported: 0,
};

interface Finding {
  file: string;
  line: number;
  problem: string;
}

interface Text {
  text: string;
  line: number;
}

const findings: Finding[] = [];
for (const file of await files('{src,test,bench,config,hooks}/**/*.{ts,cjs,mjs,js}')) {
  findings.push(...checkSource(file, readFileSync(file, 'utf8')));
}
for (const file of await files('{README.md,CONTRIBUTING.md,docs/**/*.md}')) {
  findings.push(
    ...wordsOf({ text: prose(readFileSync(file, 'utf8')), line: 1 }).map((found) => ({ file, ...found })),
  );
}

const counted = findings.filter(({ file }) => !isPending(file));
for (const { file, line, problem } of counted) {
  process.stdout.write(`${file}:${line}: ${problem}\n`);
}
if (pending.length > 0) {
  process.stdout.write(
    `${findings.length - counted.length} texts to rewrite in ${pending.length} pending folders\n`,
  );
}
for (const entry of pending.filter((folder) => !findings.some(({ file }) => isWithin(file, folder)))) {
  process.stdout.write(`${entry} has no finding: remove it from \`pending\` in config/lint-texts.ts\n`);
}
process.exitCode = counted.length > 0 ? 1 : 0;

/** Returns the files that match a pattern, without dependencies and generated apps. */
async function files(pattern: string): Promise<string[]> {
  const exclude = ['**/node_modules/**', 'test/fixtures/**', 'test/apps/sources/**', 'bench/apps/**'];
  return (await Array.fromAsync(glob(pattern, { exclude }))).toSorted();
}

function isPending(file: string): boolean {
  return pending.some((folder) => isWithin(file, folder));
}

function isWithin(file: string, folder: string): boolean {
  return file === folder || file.startsWith(`${folder}/`);
}

function checkSource(file: string, source: string): Finding[] {
  const { comments, tokens, program } = parse(source, {
    sourceType: 'unambiguous',
    plugins: ['typescript', 'explicitResourceManagement'],
    tokens: true,
    errorRecovery: true,
    sourceFilename: file,
  });
  const docs = (comments ?? [])
    .filter(({ type, value }) => type === 'CommentBlock' && value.startsWith('*'))
    .map(({ value, loc }) => ({ text: value.slice(1).trim(), line: loc?.start.line ?? 0 }));
  const messages = file.startsWith('src/') ? stringsOf(tokens ?? []) : titlesOf(tokens ?? []);
  const errorTexts = file.startsWith('src/') ? errorTextsOf(program) : [];
  return [...docs.flatMap(openingOf), ...messages.flatMap(wordsOf), ...errorTexts.flatMap(formOf)].map(
    (found) => ({ file, ...found }),
  );
}

/** Token of the parser: punctuation has its text as a label, and no value. */
interface Token {
  type: { label: string };
  value?: unknown;
  loc: { start: { line: number } };
}

/** Returns the text of string literals and templates. */
function stringsOf(tokens: Token[]): Text[] {
  return tokens
    .filter(({ type }) => type.label === 'string' || type.label === 'template')
    .map(({ value, loc }) => ({ text: String(value), line: loc.start.line }));
}

/** Returns the titles of tests: the string after `test(`. */
function titlesOf(tokens: Token[]): Text[] {
  return stringsOf(
    tokens.filter((_, at) => tokens[at - 1]?.type.label === '(' && tokens[at - 2]?.value === 'test'),
  );
}

/** Node of the syntax tree, with the fields that a call and its arguments have. */
interface Node {
  callee?: { name?: string };
  arguments?: Node[];
  value?: unknown;
  quasis?: { value: { raw: string } }[];
  consequent?: Node;
  alternate?: Node;
  loc?: { start: { line: number } };
}

/** Returns the messages of all errors below a node; a value in a template reads as `x`. */
function errorTextsOf(node: unknown): Text[] {
  if (typeof node !== 'object' || node === null) return [];
  const { callee, arguments: given } = node as Node;
  const position = errors[callee?.name ?? ''];
  const own = position === undefined ? [] : textsOf(given?.[position]);
  return [...own, ...Object.values(node).flatMap(errorTextsOf)];
}

function textsOf(node: Node | undefined): Text[] {
  if (node?.consequent) return [...textsOf(node.consequent), ...textsOf(node.alternate)];
  const text = node?.quasis?.map(({ value }) => value.raw).join('x') ?? node?.value;
  return typeof text === 'string' ? [{ text, line: node?.loc?.start.line ?? 0 }] : [];
}

/** Checks that a message continues a sentence such as "failed at check: …". */
function formOf({ text, line }: Text): Omit<Finding, 'file'>[] {
  const isSentence = /^(?!Sluice\b)[A-Z][a-z ]/.test(text) || /.\.$/.test(text);
  return isSentence ? [{ line, problem: `"${text}": start in lower case, without a full stop.` }] : [];
}

function openingOf({ text, line }: Text): Omit<Finding, 'file'>[] {
  const opening = openings.exec(text)?.[0];
  return opening
    ? [{ line, problem: `Doc comment starts with "${opening}": start with a verb or a noun.` }]
    : [];
}

function wordsOf({ text, line }: Text): Omit<Finding, 'file'>[] {
  return banned.flatMap(([words, instead]) =>
    [...text.matchAll(new RegExp(words, 'gi'))].map(({ 0: word, index }) => ({
      line: line + text.slice(0, index).split('\n').length - 1,
      problem: `"${word}" in a text: write ${instead}.`,
    })),
  );
}

/** Blanks code blocks and inline code of a page, line by line. */
function prose(page: string): string {
  return page
    .replaceAll(/^```[\s\S]*?^```/gm, (code) => code.replaceAll(/[^\n]/g, ' '))
    .replaceAll(/`[^`\n]*`/g, (code) => ' '.repeat(code.length));
}
