export const dynamic = 'force-dynamic';

export default function Page() {
  return <h1>{`release ${process.env.SLUICE_RELEASE}.`}</h1>;
}
