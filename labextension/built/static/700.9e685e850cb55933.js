"use strict";(self.rspackChunkwfkernel=self.rspackChunkwfkernel||[]).push([[700],{646(e,r,o){var n=o(601),t=o.n(n),a=o(314),s=(o.n(a))()(t());s.push([e.id,`.wf-Runs {
  height: 100%;
  overflow: auto;
  color: var(--jp-ui-font-color1);
  background: var(--jp-layout-color1);
  font-size: var(--jp-ui-font-size1);
}

.wf-Runs header {
  display: flex;
  align-items: center;
  justify-content: space-between;
  padding: 8px 12px;
  border-bottom: 1px solid var(--jp-border-color2);
}

.wf-Runs h2 {
  margin: 0;
  font-size: var(--jp-ui-font-size0);
  font-weight: 600;
  text-transform: uppercase;
  letter-spacing: 0.1em;
}

.wf-Runs ul {
  list-style: none;
  margin: 0;
  padding: 0;
}

.wf-Runs ul[data-live='false'] {
  opacity: 0.6;
}

.wf-Runs-run {
  display: grid;
  grid-template-columns: minmax(0, 1fr) auto;
  gap: 2px 8px;
  padding: 8px 12px;
  border-bottom: 1px solid var(--jp-border-color3);
}

.wf-Runs-run[aria-current='true'] {
  border-left: 3px solid var(--jp-brand-color1);
  padding-left: 9px;
}

.wf-Runs button {
  color: var(--jp-ui-font-color1);
  background: var(--jp-layout-color2);
  border: 1px solid var(--jp-border-color1);
  border-radius: var(--jp-border-radius);
  padding: 2px 8px;
  font-size: var(--jp-ui-font-size1);
  cursor: pointer;
}

.wf-Runs button:hover:enabled {
  background: var(--jp-layout-color3);
}

.wf-Runs button:focus-visible {
  outline: 2px solid var(--jp-brand-color1);
  outline-offset: 1px;
}

.wf-Runs button.wf-Runs-name {
  border: none;
  background: none;
  padding: 0;
  font-weight: 600;
  text-align: left;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.wf-Runs button.wf-Runs-notebook {
  border: none;
  background: none;
  padding: 0;
  font-size: inherit;
  color: var(--jp-content-link-color);
}

.wf-Runs-view {
  overflow: auto;
  padding: 12px 16px;
}

/* In Notebook 7, beneath the notebook: as high as a graph of some steps. */
#jp-down-stack .wf-Runs-view {
  min-height: 300px;
}

.wf-Runs button.wf-Runs-notebook:hover,
.wf-Runs button.wf-Runs-name:hover:enabled {
  text-decoration: underline;
}

.wf-Runs button:disabled {
  cursor: default;
}

.wf-Runs-chip {
  border: 1px solid var(--jp-border-color1);
  border-radius: 8px;
  padding: 0 8px;
  font-size: var(--jp-ui-font-size0);
  line-height: 16px;
  align-self: center;
}

.wf-Runs-chip[data-status='running'],
.wf-Runs-chip[data-status='waiting'] {
  color: var(--jp-brand-color0);
  border-color: var(--jp-brand-color1);
}

.wf-Runs-chip[data-status='suspended'],
.wf-Runs-chip[data-status='paused'],
.wf-Runs-chip[data-status='interrupted'] {
  color: var(--jp-warn-color0);
  border-color: var(--jp-warn-color1);
}

.wf-Runs-chip[data-status='success'] {
  color: var(--jp-success-color0);
  border-color: var(--jp-success-color1);
}

.wf-Runs-chip[data-status='failed'],
.wf-Runs-chip[data-status='tripwire'] {
  color: var(--jp-error-color0);
  border-color: var(--jp-error-color1);
}

.wf-Runs-detail,
.wf-Runs-actions {
  grid-column: 1 / -1;
}

.wf-Runs-detail {
  color: var(--jp-ui-font-color2);
  font-size: var(--jp-ui-font-size0);
  overflow-wrap: anywhere;
}

.wf-Runs-actions {
  display: flex;
  gap: 8px;
  padding-top: 4px;
}

.wf-Runs-note,
.wf-Runs-problem {
  padding: 8px 12px;
  margin: 0;
}

.wf-Runs-problem {
  color: var(--jp-error-color0);
}
`,""]),o.d(r,{},{A:s})},314(e){e.exports=function(e){var r=[];return r.toString=function(){return this.map(function(r){var o="",n=void 0!==r[5];return r[4]&&(o+="@supports (".concat(r[4],") {")),r[2]&&(o+="@media ".concat(r[2]," {")),n&&(o+="@layer".concat(r[5].length>0?" ".concat(r[5]):""," {")),o+=e(r),n&&(o+="}"),r[2]&&(o+="}"),r[4]&&(o+="}"),o}).join("")},r.i=function(e,o,n,t,a){"string"==typeof e&&(e=[[null,e,void 0]]);var s={};if(n)for(var i=0;i<this.length;i++){var u=this[i][0];null!=u&&(s[u]=!0)}for(var c=0;c<e.length;c++){var p=[].concat(e[c]);n&&s[p[0]]||(void 0!==a&&(void 0===p[5]||(p[1]="@layer".concat(p[5].length>0?" ".concat(p[5]):""," {").concat(p[1],"}")),p[5]=a),o&&(p[2]&&(p[1]="@media ".concat(p[2]," {").concat(p[1],"}")),p[2]=o),t&&(p[4]?(p[1]="@supports (".concat(p[4],") {").concat(p[1],"}"),p[4]=t):p[4]="".concat(t)),r.push(p))}},r}},601(e){e.exports=function(e){return e[1]}},72(e){var r=[];function o(e){for(var o=-1,n=0;n<r.length;n++)if(r[n].identifier===e){o=n;break}return o}function n(e,n){for(var t={},a=[],s=0;s<e.length;s++){var i=e[s],u=n.base?i[0]+n.base:i[0],c=t[u]||0,p="".concat(u," ").concat(c);t[u]=c+1;var l=o(p),d={css:i[1],media:i[2],sourceMap:i[3],supports:i[4],layer:i[5]};if(-1!==l)r[l].references++,r[l].updater(d);else{var f=function(e,r){var o=r.domAPI(r);return o.update(e),function(r){r?(r.css!==e.css||r.media!==e.media||r.sourceMap!==e.sourceMap||r.supports!==e.supports||r.layer!==e.layer)&&o.update(e=r):o.remove()}}(d,n);n.byIndex=s,r.splice(s,0,{identifier:p,updater:f,references:1})}a.push(p)}return a}e.exports=function(e,t){var a=n(e=e||[],t=t||{});return function(e){e=e||[];for(var s=0;s<a.length;s++){var i=o(a[s]);r[i].references--}for(var u=n(e,t),c=0;c<a.length;c++){var p=o(a[c]);0===r[p].references&&(r[p].updater(),r.splice(p,1))}a=u}}},659(e){var r={};e.exports=function(e,o){var n=function(e){if(void 0===r[e]){var o=document.querySelector(e);if(window.HTMLIFrameElement&&o instanceof window.HTMLIFrameElement)try{o=o.contentDocument.head}catch(e){o=null}r[e]=o}return r[e]}(e);if(!n)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");n.appendChild(o)}},540(e){e.exports=function(e){var r=document.createElement("style");return e.setAttributes(r,e.attributes),e.insert(r,e.options),r}},56(e,r,o){e.exports=function(e){var r=o.nc;r&&e.setAttribute("nonce",r)}},825(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var r=e.insertStyleElement(e);return{update:function(o){var n,t,a;n="",o.supports&&(n+="@supports (".concat(o.supports,") {")),o.media&&(n+="@media ".concat(o.media," {")),(t=void 0!==o.layer)&&(n+="@layer".concat(o.layer.length>0?" ".concat(o.layer):""," {")),n+=o.css,t&&(n+="}"),o.media&&(n+="}"),o.supports&&(n+="}"),(a=o.sourceMap)&&"u">typeof btoa&&(n+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(a))))," */")),e.styleTagTransform(n,r,e.options)},remove:function(){var e;null===(e=r).parentNode||e.parentNode.removeChild(e)}}}},113(e){e.exports=function(e,r){if(r.styleSheet)r.styleSheet.cssText=e;else{for(;r.firstChild;)r.removeChild(r.firstChild);r.appendChild(document.createTextNode(e))}}},959(e,r,o){var n=o(72),t=o.n(n),a=o(825),s=o.n(a),i=o(659),u=o.n(i),c=o(56),p=o.n(c),l=o(540),d=o.n(l),f=o(113),v=o.n(f),h=o(646),b={};b.styleTagTransform=v(),b.setAttributes=p(),b.insert=u().bind(null,"head"),b.domAPI=s(),b.insertStyleElement=d(),t()(h.A,b),h.A&&h.A.locals&&h.A.locals}}]);