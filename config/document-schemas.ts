/**
 * JSON Schemas of the documents that people write, for their editors. They say what a document's shape may be; what only the
 * whole document shows (names used twice, references that lead nowhere) is `farshore site check`'s.
 */
import { z } from 'zod';
import { recoveryPlanSchema } from '../domain/plan.js';
import { siteSchema } from '../domain/site.js';

const documents = {
  site: { title: 'Farshore site file', schema: siteSchema },
  plan: { title: 'Farshore recovery plan', schema: recoveryPlanSchema },
} as const satisfies Record<string, { title: string; schema: z.ZodType }>;

export type DocumentKind = keyof typeof documents;
export const documentKinds = Object.keys(documents) as DocumentKind[];

/** Where the schema is kept in the package. */
export const schemaFile = (kind: DocumentKind): string => `schemas/${kind}.schema.json`;

/** By its file in the package. */
export const documentFiles = (): { readonly file: string; readonly schema: object }[] =>
  documentKinds.map((kind) => ({ file: schemaFile(kind), schema: documentSchema(kind) }));

/** Of what is written into the file, before defaults are filled in. */
export function documentSchema(kind: DocumentKind): object {
  const { title, schema } = documents[kind];
  return jsonSchemaOf(title, schema);
}

/** @param io of what is read, before defaults are filled in, or of what is made. */
export function jsonSchemaOf(title: string, schema: z.ZodType, io: 'input' | 'output' = 'input'): object {
  // The draft that all editors know.
  const { $schema, ...rest } = z.toJSONSchema(schema, { io, target: 'draft-7' });
  return { $schema, title, ...rest };
}

export const schemaText = (schema: object): string => `${JSON.stringify(schema, null, 2)}\n`;
