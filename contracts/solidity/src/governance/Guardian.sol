// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title An account that acts when k of its n owners want the same call.
/// @notice
///     owner    approve(call)                    on chain, taken back by revoke; contracts can be owners this way
///     owner    signs the call's digest          off chain, EIP-712
///     anybody  execute(call, signatures)        when approvals and signatures together are of k owners
/// A call is done at most once, before its expiry and under the owners it was approved under: any change of owners
/// voids all that was approved or signed before. That is also how a signature is taken back: by setting the owners
/// anew, be they the same. A call that fails stays open until it expires, so nobody can use it up with too little gas;
/// only a target that goes on after failures within itself leaves that to whoever executes. Calls have no order among
/// each other. There is no delegatecall and no other way to the funds or roles held here.
contract Guardian is EIP712, ReentrancyGuardTransient {
    /// @notice One call of this account. Two calls alike differ by their `salt`.
    struct Call {
        address target;
        uint256 value;
        bytes data;
        bytes32 salt;
        uint64 expiresAtS;
        uint64 ownersVersion;
    }

    /// @notice Most owners: each is looked at when a call is executed, and sixteen people can still know each other.
    uint256 public constant MAX_OWNERS = 16;

    /// @notice Longest life of a call: what took longer to sign was not an emergency, nor still thought of by all.
    uint256 public constant MAX_LIFE_S = 30 days;

    /// @notice EIP-712 type hash of `Call`.
    bytes32 public constant CALL_TYPE_HASH =
        keccak256("Call(address target,uint256 value,bytes data,bytes32 salt,uint64 expiresAtS,uint64 ownersVersion)");

    uint256 private constant EXECUTED = 1 << 255;

    /// @notice The owners were set; `threshold` of them decide.
    event OwnersSet(uint64 indexed version, address[] owners, uint256 threshold);
    /// @notice `owner` wants the call.
    event Approved(bytes32 indexed digest, address indexed owner, Call call);
    /// @notice `owner` no longer wants the call.
    event Revoked(bytes32 indexed digest, address indexed owner);
    /// @notice The call was done.
    event Executed(bytes32 indexed digest, address indexed executor, bytes result);
    /// @notice `from` paid `amountWei` in.
    event Received(address indexed from, uint256 amountWei);

    /// @notice The caller, or a signer, is not an owner.
    error NotAnOwner(address account);
    /// @notice Only the account itself may do this.
    error OnlyItself();
    /// @notice No owner, or more than `MAX_OWNERS`.
    error WrongOwnerCount(uint256 count);
    /// @notice An owner is zero, named twice, or the account itself.
    error InvalidOwner(address owner);
    /// @notice No owner suffices, or more than there are.
    error WrongThreshold(uint256 threshold);
    /// @notice The owners changed since the call was written.
    error OtherOwners(uint64 ownersVersion);
    /// @notice The call's time is over.
    error Expired(uint64 expiresAtS);
    /// @notice The call's expiry is further away than `MAX_LIFE_S`.
    error ExpiresTooLate(uint64 expiresAtS);
    /// @notice The call was done before.
    error AlreadyExecuted(bytes32 digest);
    /// @notice The signatures are not in ascending order of their signers, or one signed twice.
    error NotAscending(address signer);
    /// @notice Fewer owners want the call than are needed.
    error TooFewApprovals(uint256 count, uint256 threshold);
    /// @notice The call carries data for an address without code: it would do nothing and look done.
    error NothingToCall(address target);
    /// @notice The call failed without a reason of its own.
    error CallFailed();

    /// @notice How many owners have to want a call.
    uint256 public threshold;
    /// @notice How often the owners were set.
    uint64 public ownersVersion;

    address[] private _owners;
    mapping(uint64 version => mapping(address owner => uint256 bit)) private _bits;
    mapping(bytes32 digest => uint256 approvals) private _approvals;

    /// @notice `threshold_` of `owners_` decide.
    constructor(address[] memory owners_, uint256 threshold_) EIP712("energy-grid guardian", "1") {
        _setOwners(owners_, threshold_);
    }

    /// @notice Takes money for calls that pay.
    receive() external payable {
        emit Received(msg.sender, msg.value);
    }

    /// @notice Says on chain that the caller, an owner, wants the call.
    function approve(Call calldata call) external {
        uint256 bit = _bitOf(msg.sender);
        bytes32 digest = _open(call);
        _approvals[digest] |= bit;
        emit Approved(digest, msg.sender, call);
    }

    /// @notice Takes back an approval. Signatures given away are not touched by it.
    function revoke(Call calldata call) external {
        uint256 bit = _bitOf(msg.sender);
        bytes32 digest = _open(call);
        _approvals[digest] &= ~bit;
        emit Revoked(digest, msg.sender);
    }

    /// @notice Does the call if enough owners approved or signed it. By anybody: the owners have decided.
    /// @param signatures Each 65 bytes r, s, v over `digestOf(call)`, in ascending order of their signers.
    function execute(Call calldata call, bytes[] calldata signatures)
        external
        nonReentrant
        returns (bytes memory result)
    {
        bytes32 digest = _open(call);
        uint256 wanting = _approvals[digest] | _signers(digest, signatures);
        uint256 count = _countOf(wanting);
        if (count < threshold) revert TooFewApprovals(count, threshold);
        if (call.data.length != 0 && call.target.code.length == 0) revert NothingToCall(call.target);

        _approvals[digest] = wanting | EXECUTED;

        bool done;
        (done, result) = call.target.call{value: call.value}(call.data);
        if (!done) {
            if (result.length == 0) revert CallFailed();
            LowLevelCall.bubbleRevert(result);
        }
        emit Executed(digest, msg.sender, result);
    }

    /// @notice Replaces all owners. By this account itself.
    function setOwners(address[] calldata owners_, uint256 threshold_) external {
        if (msg.sender != address(this)) revert OnlyItself();
        _setOwners(owners_, threshold_);
    }

    /// @notice The owners.
    function owners() external view returns (address[] memory) {
        return _owners;
    }

    /// @notice Whether `account` is an owner.
    function isOwner(address account) public view returns (bool) {
        return _bits[ownersVersion][account] != 0;
    }

    /// @notice What the owners sign: the call on this chain for this account.
    function digestOf(Call calldata call) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    CALL_TYPE_HASH,
                    call.target,
                    call.value,
                    keccak256(call.data),
                    call.salt,
                    call.expiresAtS,
                    call.ownersVersion
                )
            )
        );
    }

    /// @notice Whether `owner` approved the call on chain, or signed it when it was done.
    function hasApproved(Call calldata call, address owner) external view returns (bool) {
        return _approvals[digestOf(call)] & _bits[call.ownersVersion][owner] != 0;
    }

    /// @notice Whether the call was done.
    function isExecuted(Call calldata call) external view returns (bool) {
        return _approvals[digestOf(call)] & EXECUTED != 0;
    }

    /// @dev The digest of a call that may still be done.
    function _open(Call calldata call) private view returns (bytes32 digest) {
        if (call.ownersVersion != ownersVersion) revert OtherOwners(call.ownersVersion);
        if (block.timestamp >= call.expiresAtS) revert Expired(call.expiresAtS);
        if (call.expiresAtS - block.timestamp > MAX_LIFE_S) revert ExpiresTooLate(call.expiresAtS);
        digest = digestOf(call);
        if (_approvals[digest] & EXECUTED != 0) revert AlreadyExecuted(digest);
    }

    /// @dev The bits of those who signed. `recover` refuses the malleable twin and what recovers to no address; the
    /// order refuses one signer twice.
    function _signers(bytes32 digest, bytes[] calldata signatures) private view returns (uint256 bits) {
        address last;
        for (uint256 i = 0; i < signatures.length; i++) {
            address signer = ECDSA.recoverCalldata(digest, signatures[i]);
            if (signer <= last) revert NotAscending(signer);
            bits |= _bitOf(signer);
            last = signer;
        }
    }

    function _bitOf(address owner) private view returns (uint256 bit) {
        bit = _bits[ownersVersion][owner];
        if (bit == 0) revert NotAnOwner(owner);
    }

    function _countOf(uint256 bits) private pure returns (uint256 count) {
        for (; bits != 0; bits &= bits - 1) {
            count++;
        }
    }

    function _setOwners(address[] memory owners_, uint256 threshold_) private {
        if (owners_.length == 0 || owners_.length > MAX_OWNERS) revert WrongOwnerCount(owners_.length);
        if (threshold_ == 0 || threshold_ > owners_.length) revert WrongThreshold(threshold_);
        uint64 version = ++ownersVersion;
        for (uint256 i = 0; i < owners_.length; i++) {
            address owner = owners_[i];
            if (owner == address(0) || owner == address(this) || _bits[version][owner] != 0) {
                revert InvalidOwner(owner);
            }
            _bits[version][owner] = 1 << i;
        }
        _owners = owners_;
        threshold = threshold_;
        emit OwnersSet(version, owners_, threshold_);
    }
}
