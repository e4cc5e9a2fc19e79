import { Controller, Get, Header } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { createHash } from 'node:crypto';
import { Public } from '#libs/platform/http';

const STYLE =
  'body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1rem}button,input{font:inherit;padding:.5rem 1rem}label{display:block;margin:1rem 0}input{display:block;width:100%;box-sizing:border-box}';

/** Sends the token of the address's fragment, which no server's log has seen, when the person presses the button. */
const SCRIPT = `
const form = document.querySelector('form'), said = document.querySelector('[role=status]');
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  const answer = await fetch(form.getAttribute('action'), {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token, ...Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== '')) }),
  });
  const body = await answer.json().catch(() => ({}));
  said.textContent = answer.ok ? form.dataset.done : (body.detail ?? 'That did not work. Try again in a moment.');
  if (answer.ok) form.hidden = true;
});`;

const hashed = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const POLICY = `default-src 'none'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; style-src ${hashed(STYLE)}; script-src ${hashed(SCRIPT)}`;

const page = (title: string, action: string, done: string, fields: string, button: string): string => `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${title} - Mainstay</title><style>${STYLE}</style>
<h1>${title}</h1>
<form method="post" action="${action}" data-done="${done}">${fields}<button>${button}</button></form>
<p role="status"></p>
<script>${SCRIPT}</script></html>`;

/** Where the links of our mails lead: pages that send a form to the API. Everything else is the portal's. */
@ApiExcludeController()
@Public()
@Controller()
export class ConfirmPageController {
  @Get('confirm')
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', POLICY)
  confirm(): string {
    return page(
      'Confirm the sign-up of your agency',
      '/v1/sign-ups/confirm',
      'Your agency is signed up. You can sign in now: POST /v1/sessions.',
      '<label>Choose a password, at least 12 characters <input name="password" type="password" autocomplete="new-password" required></label>',
      'Confirm',
    );
  }

  @Get('accept')
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', POLICY)
  accept(): string {
    const fields =
      '<p>Leave both empty if you have an account already.</p>' +
      '<label>Your name <input name="name" autocomplete="name"></label>' +
      '<label>Password, at least 12 characters <input name="password" type="password" autocomplete="new-password"></label>';
    return page(
      'Accept the invitation',
      '/v1/invitations/accept',
      'You are a member now. You can sign in: POST /v1/sessions.',
      fields,
      'Accept',
    );
  }

  @Get('reset')
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', POLICY)
  reset(): string {
    const field =
      '<label>New password, at least 12 characters <input name="password" type="password" autocomplete="new-password" required></label>';
    return page(
      'Choose a new password',
      '/v1/password-resets/confirm',
      'The password is changed, and all your sessions are ended. You can sign in now: POST /v1/sessions.',
      field,
      'Change the password',
    );
  }
}
