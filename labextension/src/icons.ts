import { LabIcon } from '@jupyterlab/ui-components';

const svg = (paths: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">${paths}</g></svg>`;

export const suspendIcon = new LabIcon({
  name: 'wfkernel:suspend',
  svgstr: svg('<path d="M4 5h4v14H4zM10 5h4v14h-4zM17 12l5-4v8z"/>')
});

export const runsIcon = new LabIcon({
  name: 'wfkernel:runs',
  svgstr: svg('<path d="M3 4h6v4H7v3h8V9h6v6h-6v-2H7v3h2v4H3v-4h2V8H3z"/>')
});
