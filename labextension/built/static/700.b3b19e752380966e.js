"use strict";(self.rspackChunkwfkernel=self.rspackChunkwfkernel||[]).push([[700],{646(r,e,o){var n=o(601),t=o.n(n),a=o(314),s=(o.n(a))()(t());s.push([r.id,`.wf-Runs {
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
`,""]),o.d(e,{},{A:s})},314(r){r.exports=function(r){var e=[];return e.toString=function(){return this.map(function(e){var o="",n=void 0!==e[5];return e[4]&&(o+="@supports (".concat(e[4],") {")),e[2]&&(o+="@media ".concat(e[2]," {")),n&&(o+="@layer".concat(e[5].length>0?" ".concat(e[5]):""," {")),o+=r(e),n&&(o+="}"),e[2]&&(o+="}"),e[4]&&(o+="}"),o}).join("")},e.i=function(r,o,n,t,a){"string"==typeof r&&(r=[[null,r,void 0]]);var s={};if(n)for(var i=0;i<this.length;i++){var u=this[i][0];null!=u&&(s[u]=!0)}for(var c=0;c<r.length;c++){var p=[].concat(r[c]);n&&s[p[0]]||(void 0!==a&&(void 0===p[5]||(p[1]="@layer".concat(p[5].length>0?" ".concat(p[5]):""," {").concat(p[1],"}")),p[5]=a),o&&(p[2]&&(p[1]="@media ".concat(p[2]," {").concat(p[1],"}")),p[2]=o),t&&(p[4]?(p[1]="@supports (".concat(p[4],") {").concat(p[1],"}"),p[4]=t):p[4]="".concat(t)),e.push(p))}},e}},601(r){r.exports=function(r){return r[1]}},72(r){var e=[];function o(r){for(var o=-1,n=0;n<e.length;n++)if(e[n].identifier===r){o=n;break}return o}function n(r,n){for(var t={},a=[],s=0;s<r.length;s++){var i=r[s],u=n.base?i[0]+n.base:i[0],c=t[u]||0,p="".concat(u," ").concat(c);t[u]=c+1;var l=o(p),d={css:i[1],media:i[2],sourceMap:i[3],supports:i[4],layer:i[5]};if(-1!==l)e[l].references++,e[l].updater(d);else{var f=function(r,e){var o=e.domAPI(e);return o.update(r),function(e){e?(e.css!==r.css||e.media!==r.media||e.sourceMap!==r.sourceMap||e.supports!==r.supports||e.layer!==r.layer)&&o.update(r=e):o.remove()}}(d,n);n.byIndex=s,e.splice(s,0,{identifier:p,updater:f,references:1})}a.push(p)}return a}r.exports=function(r,t){var a=n(r=r||[],t=t||{});return function(r){r=r||[];for(var s=0;s<a.length;s++){var i=o(a[s]);e[i].references--}for(var u=n(r,t),c=0;c<a.length;c++){var p=o(a[c]);0===e[p].references&&(e[p].updater(),e.splice(p,1))}a=u}}},659(r){var e={};r.exports=function(r,o){var n=function(r){if(void 0===e[r]){var o=document.querySelector(r);if(window.HTMLIFrameElement&&o instanceof window.HTMLIFrameElement)try{o=o.contentDocument.head}catch(r){o=null}e[r]=o}return e[r]}(r);if(!n)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");n.appendChild(o)}},540(r){r.exports=function(r){var e=document.createElement("style");return r.setAttributes(e,r.attributes),r.insert(e,r.options),e}},56(r,e,o){r.exports=function(r){var e=o.nc;e&&r.setAttribute("nonce",e)}},825(r){r.exports=function(r){if("u"<typeof document)return{update:function(){},remove:function(){}};var e=r.insertStyleElement(r);return{update:function(o){var n,t,a;n="",o.supports&&(n+="@supports (".concat(o.supports,") {")),o.media&&(n+="@media ".concat(o.media," {")),(t=void 0!==o.layer)&&(n+="@layer".concat(o.layer.length>0?" ".concat(o.layer):""," {")),n+=o.css,t&&(n+="}"),o.media&&(n+="}"),o.supports&&(n+="}"),(a=o.sourceMap)&&"u">typeof btoa&&(n+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(a))))," */")),r.styleTagTransform(n,e,r.options)},remove:function(){var r;null===(r=e).parentNode||r.parentNode.removeChild(r)}}}},113(r){r.exports=function(r,e){if(e.styleSheet)e.styleSheet.cssText=r;else{for(;e.firstChild;)e.removeChild(e.firstChild);e.appendChild(document.createTextNode(r))}}},959(r,e,o){var n=o(72),t=o.n(n),a=o(825),s=o.n(a),i=o(659),u=o.n(i),c=o(56),p=o.n(c),l=o(540),d=o.n(l),f=o(113),v=o.n(f),b=o(646),w={};w.styleTagTransform=v(),w.setAttributes=p(),w.insert=u().bind(null,"head"),w.domAPI=s(),w.insertStyleElement=d(),t()(b.A,w),b.A&&b.A.locals&&b.A.locals}}]);