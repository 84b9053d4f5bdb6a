// Everything works without this file: it only makes some of it easier.
'use strict';

// "Copy" beside a text; hidden where there is no script.
for (const button of document.querySelectorAll('button[data-copy]')) {
  const source = document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener('click', async () => {
    const text = 'value' in source ? source.value : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      if (source.select) source.select();
    }
  });
}

// How far an upload is.
for (const form of document.querySelectorAll('form[data-upload]')) {
  const bar = form.querySelector('progress');
  const text = form.querySelector('[data-upload-text]');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();
    request.open('POST', form.action);
    request.setRequestHeader('Accept', 'text/html');
    bar.hidden = false;
    request.upload.addEventListener('progress', (step) => {
      if (!step.lengthComputable) return;
      bar.max = step.total;
      bar.value = step.loaded;
      const percent = Math.floor((100 * step.loaded) / step.total);
      text.textContent = step.loaded < step.total ? `${percent} % sent` : 'Sent; it is being looked into…';
    });
    request.addEventListener('load', () => {
      // A page about what is wrong, or the one the answer led on to.
      if (request.responseURL && request.responseURL !== form.action && request.status < 400) {
        location.assign(request.responseURL);
        return;
      }
      const page = new DOMParser().parseFromString(request.responseText, 'text/html');
      const main = page.getElementById('content');
      if (main) document.getElementById('content').replaceWith(document.adoptNode(main));
      document.title = page.title;
      document.getElementById('content').focus();
    });
    request.addEventListener('error', () => {
      text.textContent = 'The upload broke off. Nothing was kept; send it again.';
    });
    request.send(new FormData(form));
  });
}
