/** How the files of a kind begin. */
interface Signature {
  readonly extensions: readonly string[];
  /** One of these must stand at `at`, or within the first `within` bytes. */
  readonly begins: readonly (string | readonly number[])[];
  readonly at?: number;
  readonly within?: number;
  /** Where it is written down. */
  readonly source: string;
}

const ZIP: readonly (readonly number[])[] = [
  [0x50, 0x4b, 0x03, 0x04],
  [0x50, 0x4b, 0x05, 0x06],
  [0x50, 0x4b, 0x07, 0x08],
];
const COMPOUND_FILE = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
const RTF = '{\\rtf';

/** What well-known extensions promise. Only what (nearly) every program that writes such files holds to. */
const SIGNATURES: readonly Signature[] = [
  // Readers take the header anywhere in the first 1,024 bytes, and some writers count on it.
  { extensions: ['pdf'], begins: ['%PDF-'], within: 1_024, source: 'ISO 32000-1, 7.5.2; PDF Reference 1.7, H.3 (13)' },
  {
    extensions: ['zip', 'jar', 'odt', 'ods', 'odp', 'odg', 'epub', 'kmz'],
    begins: ZIP,
    source: 'PKWARE APPNOTE, 4.3.7, 4.3.16, 8.5.3',
  },
  {
    extensions: ['docx', 'docm', 'dotx', 'xlsx', 'xlsm', 'xltx', 'pptx', 'pptm', 'vsdx'],
    // With a password, Office puts the package into a compound file.
    begins: [...ZIP, COMPOUND_FILE],
    source: 'ECMA-376 part 2, annex B; [MS-OFFCRYPTO] 2.3.4',
  },
  { extensions: ['xls', 'ppt', 'msg', 'vsd', 'mpp', 'msi'], begins: [COMPOUND_FILE], source: '[MS-CFB] 2.2' },
  { extensions: ['doc'], begins: [COMPOUND_FILE, RTF], source: '[MS-CFB] 2.2; Word saves RTF under this name too' },
  { extensions: ['rtf'], begins: [RTF], source: 'Rich Text Format Specification 1.9.1' },
  { extensions: ['jpg', 'jpeg', 'jpe'], begins: [[0xff, 0xd8, 0xff]], source: 'ITU-T T.81, B.1.1.3 and B.2.1' },
  { extensions: ['png'], begins: [[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]], source: 'RFC 2083, 3.1' },
  { extensions: ['gif'], begins: ['GIF87a', 'GIF89a'], source: 'GIF89a Specification, 17' },
  {
    extensions: ['tif', 'tiff'],
    begins: ['II*\0', 'MM\0*', 'II+\0', 'MM\0+'],
    source: 'TIFF 6.0, section 2; BigTIFF',
  },
  { extensions: ['bmp'], begins: ['BM'], source: 'BITMAPFILEHEADER, Windows GDI reference' },
  {
    extensions: ['webp', 'wav', 'avi'],
    begins: ['RIFF'],
    source: 'RFC 9649, 2.3; Multimedia Programming Interface 1.0',
  },
  { extensions: ['gz', 'tgz'], begins: [[0x1f, 0x8b]], source: 'RFC 1952, 2.3.1' },
  { extensions: ['bz2'], begins: ['BZh'], source: 'bzip2 and libbzip2' },
  { extensions: ['xz'], begins: [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]], source: 'The .xz File Format, 2.1.1.1' },
  { extensions: ['7z'], begins: [[0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]], source: '7zFormat.txt (7-Zip)' },
  { extensions: ['rar'], begins: ['Rar!\x1a\x07'], source: 'RAR 5.0 archive format, 3' },
  { extensions: ['mp4', 'm4v', 'm4a', 'heic'], begins: ['ftyp'], at: 4, source: 'ISO/IEC 14496-12, 4.3' },
  { extensions: ['sqlite', 'sqlite3', 'gpkg'], begins: ['SQLite format 3\0'], source: 'sqlite.org/fileformat, 1.3' },
  {
    extensions: ['mdb', 'accdb'],
    begins: ['Standard Jet DB', 'Standard ACE DB'],
    at: 4,
    source: 'mdbtools, HACKING.md',
  },
  { extensions: ['pst', 'ost'], begins: ['!BDN'], source: '[MS-PST] 2.2.2.6' },
  { extensions: ['dwg'], begins: ['AC10'], source: 'Open Design Specification for .dwg files, 3' },
  { extensions: ['shp'], begins: [[0x00, 0x00, 0x27, 0x0a]], source: 'ESRI Shapefile Technical Description' },
];

const BY_EXTENSION = new Map(SIGNATURES.flatMap((one) => one.extensions.map((extension) => [extension, one] as const)));

/** What people can read: no signature, but never bytes without any order. */
const TEXTS: ReadonlySet<string> = new Set([
  'csv',
  'tsv',
  'txt',
  'log',
  'sql',
  'xml',
  'json',
  'geojson',
  'html',
  'htm',
  'md',
  'ini',
  'yaml',
  'yml',
  'eml',
  'svg',
]);

/** So much of a file is looked at, in bytes. */
export const HEAD_BYTES = 65_536;
/** Fewer bytes do not show whether there is any order in them. */
const TEXT_BYTES = 1_024;
/** Bits a byte. Encrypted and compressed bytes have 7.8 (of 1,024) to 8; text has less, Chinese in UTF-16 included. */
const ENTROPY_MAX = 7.5;

type Promised = { readonly kind: 'signature'; readonly signature: Signature } | { readonly kind: 'text' };

/** What a file's name promises of its contents; undefined: nothing that could be checked with so many bytes. */
export function promisedBy(name: string, bytes: number): Promised | undefined {
  const extension = /[^/]\.([a-z0-9]{2,8})$/i.exec(name)?.[1]?.toLowerCase() ?? '';
  const signature = BY_EXTENSION.get(extension);
  // An empty file is one that was never filled.
  if (signature) return bytes > 0 ? { kind: 'signature', signature } : undefined;
  return TEXTS.has(extension) && bytes >= TEXT_BYTES ? { kind: 'text' } : undefined;
}

/** @param head the first {@link HEAD_BYTES} of the file, or all of it */
export function keeps(promised: Promised, head: Buffer): boolean {
  if (promised.kind === 'text') return isUtf8(head) || entropyOf(head) < ENTROPY_MAX;
  const { begins, at = 0, within } = promised.signature;
  return begins.some((begin) => {
    const bytes = Buffer.from(begin as string, 'latin1');
    if (within !== undefined) return head.subarray(0, within + bytes.length).includes(bytes);
    return head.subarray(at, at + bytes.length).equals(bytes);
  });
}

/** The last character may be cut off. */
function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    // The only fault that it knows is a byte that does not belong there.
    return false;
  }
}

/** Shannon's, of single bytes: 0 to 8 bits a byte. */
function entropyOf(bytes: Buffer): number {
  const counts = new Float64Array(256);
  for (const byte of bytes) counts[byte] = (counts[byte] ?? 0) + 1;
  return counts.reduce(
    (sum, count) => (count === 0 ? sum : sum - (count / bytes.length) * Math.log2(count / bytes.length)),
    0,
  );
}
