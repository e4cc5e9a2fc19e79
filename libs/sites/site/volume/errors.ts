import { DomainError } from '#libs/platform/errors';

export class VolumeNameError extends DomainError {
  constructor(name: string) {
    super('invalid', 'volume.name', 'A volume is named by letters, digits, "-", "_" and "." only.', {
      detail: JSON.stringify(name.slice(0, 100)),
    });
  }
}

export class VolumeExistsError extends DomainError {
  constructor(name: string) {
    super('conflict', 'volume.exists', 'There is a volume of this name already. Choose another, or remove it first.', {
      detail: name,
    });
  }
}

export class VolumeNotFoundError extends DomainError {
  constructor(name: string) {
    super('not-found', 'volume.not-found', 'There is no such volume or snapshot.', { detail: name });
  }
}
