import tseslint from 'typescript-eslint';

/** Forbids a module everywhere but in the folders that own it (design.md, "Fences"). */
const fence = (name, message) => ({ name, message });

const FENCED = {
  bullmq: fence('bullmq', 'Only libs/platform/queue talks to BullMQ: declare a job contract instead.'),
  stripe: fence('stripe', 'Only libs/billing talks to Stripe.'),
};

const noEnvironment = {
  object: 'process',
  property: 'env',
  message: 'The environment is read once, in libs/platform/config.',
};

const noNestDatabase = [
  {
    name: '@nestjs/typeorm',
    importNames: ['InjectRepository', 'InjectDataSource', 'InjectEntityManager'],
    message: 'Use the unit of work of libs/platform/database: an injected repository does not see the tenant.',
  },
  {
    name: 'typeorm',
    importNames: ['DataSource', 'Repository', 'EntityManager'],
    message: 'DataSource and repositories are reached through libs/platform/database only.',
  },
];

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', '.mainstay/**'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['vitest.config.ts'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/ban-ts-comment': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/no-empty-function': 'off',
      'max-lines': ['error', { max: 300 }],
      'no-empty': ['error', { allowEmptyCatch: false }],
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx'] }],
      'no-restricted-properties': ['error', noEnvironment],
      'no-restricted-imports': [
        'error',
        {
          paths: [
            ...Object.values(FENCED),
            ...noNestDatabase,
            { name: '@nestjs/common', importNames: ['forwardRef'], message: 'A cycle is a design fault: cut it.' },
          ],
        },
      ],
    },
  },
  {
    files: ['libs/platform/queue/**'],
    rules: { 'no-restricted-imports': 'off' },
  },
  {
    files: ['libs/platform/database/**', 'migrations/**'],
    rules: { 'no-restricted-imports': 'off' },
  },
  {
    files: ['libs/platform/config/**', '**/*.test.ts', 'vitest.config.ts'],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    files: ['**/*.test.ts', 'test/**'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  {
    files: ['**/*.mjs'],
    ...tseslint.configs.disableTypeChecked,
    rules: {
      '@typescript-eslint/no-floating-promises': 'off',
      '@typescript-eslint/no-misused-promises': 'off',
      '@typescript-eslint/await-thenable': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': 'off',
    },
  },
);
