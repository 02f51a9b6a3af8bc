namespace Vmm.Backends.VhostUser;

/// <summary>Requests of the front end (QEMU, docs/interop/vhost-user.rst, "Front-end message types").</summary>
internal enum VhostUserRequest
{
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    SetMemTable = 5,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    SetVringErr = 14,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    GetConfig = 24,
    SetConfig = 25,
    SetDeviceStateFd = 42,
    CheckDeviceState = 43,
}

/// <summary>Features of the protocol that this front end has a use for (the same document, "Protocol features").</summary>
[Flags]
internal enum VhostUserProtocolFeatures : ulong
{
    None = 0,
    Mq = 1 << 0,
    ReplyAck = 1 << 3,
    Config = 1 << 9,
    DeviceState = 1 << 19,
}
