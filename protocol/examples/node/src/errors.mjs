/** What goes wrong on one side of a connection: a call of the program, or what the server sends. */

/** A call that this state of the connection does not allow; nothing was sent. */
export class UsageError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** A connection error of the server: thrown inside Connection.receive(), and turned into GOAWAY and the event `failed` there. */
export class Violation extends Error {
  /** @param {string} name of the error code @param {string} message */
  constructor(name, message) {
    super(message);
    this.violation = name;
  }
}

/** @param {string} name of the error code @param {string} message @throws {Violation} always */
export function fail(name, message) {
  throw new Violation(name, message);
}
