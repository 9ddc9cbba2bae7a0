/**
 * JSON Schemas of the documents that people write, for their editors. They describe the shape of a document. Faults
 * that only the whole document shows (names used twice, references to nothing) are found by `farshore site check`.
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

/** The schema's file in the package. */
export const schemaFile = (kind: DocumentKind): string => `schemas/${kind}.schema.json`;

/** All schemas with their files in the package. */
export const documentFiles = (): { readonly file: string; readonly schema: object }[] =>
  documentKinds.map((kind) => ({ file: schemaFile(kind), schema: documentSchema(kind) }));

/** Describes the document as it is written, before defaults are filled in. */
export function documentSchema(kind: DocumentKind): object {
  const { title, schema } = documents[kind];
  return jsonSchemaOf(title, schema);
}

/** @param io `input`: before defaults are filled in; `output`: afterwards. */
export function jsonSchemaOf(title: string, schema: z.ZodType, io: 'input' | 'output' = 'input'): object {
  // The draft that all editors support.
  const { $schema, ...rest } = z.toJSONSchema(schema, { io, target: 'draft-7' });
  return { $schema, title, ...rest };
}

export const schemaText = (schema: object): string => `${JSON.stringify(schema, null, 2)}\n`;
