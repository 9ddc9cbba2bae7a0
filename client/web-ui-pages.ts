/** Addresses of the Temporal Web UI's pages. */

/** Where the Web UI is, and the namespace to look into. */
export interface WebUi {
  readonly uiUrl: string;
  readonly namespace: string;
}

export const workflowsUrl = ({ uiUrl, namespace }: WebUi): string =>
  `${uiUrl.replace(/\/+$/, '')}/namespaces/${encodeURIComponent(namespace)}/workflows`;

/** The newest run of a workflow. @param id may hold slashes, which must not part the path. */
export const workflowUrl = (ui: WebUi, id: string): string => `${workflowsUrl(ui)}/${encodeURIComponent(id)}`;

/** @param saveAs has the browser keep the query among the page's saved views, under this name; once more each time. */
export function queryUrl(ui: WebUi, query: string, saveAs?: string): string {
  const kept = saveAs === undefined ? '' : `&savedQuery=${encodeURIComponent(saveAs)}`;
  return `${workflowsUrl(ui)}?query=${encodeURIComponent(query)}${kept}`;
}
