/** Addresses of the Temporal Web UI's pages. */

/** Address of the Web UI, and the namespace to show. */
export interface WebUi {
  readonly uiUrl: string;
  readonly namespace: string;
}

export const workflowsUrl = ({ uiUrl, namespace }: WebUi): string =>
  `${uiUrl.replace(/\/+$/, '')}/namespaces/${encoded(namespace)}/workflows`;

/** The newest run of a workflow. @param id may contain slashes, which must not split the path. */
export const workflowUrl = (ui: WebUi, id: string): string => `${workflowsUrl(ui)}/${encoded(id)}`;

/** The text that a workflow publishes about itself. The page shows one run, so a bookmark of it becomes outdated. */
export const detailsUrl = (ui: WebUi, id: string, run: string): string =>
  `${workflowUrl(ui, id)}/${encoded(run)}/user-metadata`;

/**
 * @param saveAs makes the browser save the query under this name among the Web UI's views; each visit adds another one.
 */
export function queryUrl(ui: WebUi, query: string, saveAs?: string): string {
  const kept = saveAs === undefined ? '' : `&savedQuery=${encoded(saveAs)}`;
  return `${workflowsUrl(ui)}?query=${encoded(query)}${kept}`;
}

/** The address must need no quotes when it is copied to a shell. */
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/['()]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`);
