// What MeteredPeer asks of an RTCPeerConnection, without any media: Node has none of its own.

export class FakeConnection extends EventTarget {
  connectionState = "new";
  iceConnectionState = "new";
  signalingState = "stable";
  localDescription = null;
  remoteDescription = null;

  async createOffer() {
    return { type: "offer", sdp: "" };
  }

  async createAnswer() {
    return { type: "answer", sdp: "" };
  }

  async setLocalDescription(description) {
    this.localDescription = description;
    this.signalingState = description?.type === "offer" ? "have-local-offer" : "stable";
  }

  async setRemoteDescription(description) {
    this.remoteDescription = description;
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
  }

  async addIceCandidate() {}

  addTrack(track) {
    return { track };
  }

  removeTrack() {}

  getSenders() {
    return [];
  }

  createDataChannel(label) {
    return Object.assign(new EventTarget(), { label, readyState: "connecting", bufferedAmount: 0, close() {} });
  }

  setConfiguration() {}

  close() {
    this.connectionState = "closed";
    this.signalingState = "closed";
  }
}
