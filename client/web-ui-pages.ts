/** Addresses of the Temporal Web UI's pages. */

/** Where the Web UI is, and the namespace to look into. */
export interface WebUi {
  readonly uiUrl: string;
  readonly namespace: string;
}

export const workflowsUrl = ({ uiUrl, namespace }: WebUi): string =>
  `${uiUrl.replace(/\/+$/, '')}/namespaces/${encoded(namespace)}/workflows`;

/** The newest run of a workflow. @param id may hold slashes, which must not part the path. */
export const workflowUrl = (ui: WebUi, id: string): string => `${workflowsUrl(ui)}/${encoded(id)}`;

/** The text a workflow shows of itself. It is of one run: a bookmark of it grows old. */
export const detailsUrl = (ui: WebUi, id: string, run: string): string =>
  `${workflowUrl(ui, id)}/${encoded(run)}/user-metadata`;

/** @param saveAs has the browser keep the query among the page's saved views, under this name; once more each time. */
export function queryUrl(ui: WebUi, query: string, saveAs?: string): string {
  const kept = saveAs === undefined ? '' : `&savedQuery=${encoded(saveAs)}`;
  return `${workflowsUrl(ui)}?query=${encoded(query)}${kept}`;
}

/** What is copied from a terminal to a shell must need no quotes, either. */
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/['()]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`);
