// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";

/// @title Who takes part, and what they have paid in and taken out.
/// @dev The token held is at least (pooled + fund + bond); each part only ever pays for its own purpose, so that
/// neither a bond nor the fund can leave through a withdrawal. Amounts are packed so that a withdrawal writes one slot
/// of its account and one of the pool; 88 bits of nano-currency are 3e17 of currency.
abstract contract Accounts is ISettlement {
    using SafeERC20 for IERC20;

    /// @dev `netNano` is deposits less withdrawals; below zero where more was earned than ever paid in.
    struct Party {
        address owner;
        int96 netNano;
        address key;
        uint96 depositedNano;
    }

    /// @dev `outflowNano` left on the UTC day whose number ends in these 16 bits. Counted only while there is a cap.
    struct Pool {
        uint88 pooledNano;
        uint88 outflowNano;
        uint64 outflowCapNano;
        uint16 day;
    }

    /// @dev Decimals of an amount in nano-currency.
    uint8 private constant NANO_DECIMALS = 9;

    /// @inheritdoc ISettlement
    address public immutable token;
    /// @inheritdoc ISettlement
    address public immutable governance;
    /// @inheritdoc ISettlement
    address public immutable registrar;
    /// @inheritdoc ISettlement
    uint256 public immutable tokenUnitsPerNano;

    /// @inheritdoc ISettlement
    uint32 public accountCount;
    mapping(uint32 account => Party party) internal _parties;
    mapping(address owner => uint32 account) private _accountOf;
    Pool internal _pool;
    /// @inheritdoc ISettlement
    uint256 public fundNano;

    modifier onlyGovernance() {
        if (msg.sender != governance) revert NotAuthorised();
        _;
    }

    constructor(IERC20Metadata token_, address governance_, address registrar_) {
        if (governance_ == address(0) || registrar_ == address(0)) revert ZeroAddress();
        uint8 decimals = token_.decimals();
        if (decimals < NANO_DECIMALS) revert TooFewDecimals(decimals);
        token = address(token_);
        governance = governance_;
        registrar = registrar_;
        tokenUnitsPerNano = 10 ** (decimals - NANO_DECIMALS);
        _open(governance_, governance_);
    }

    /// @inheritdoc ISettlement
    function openAccount(address owner, address key) external returns (uint32 account) {
        if (msg.sender != registrar) revert NotAuthorised();
        if (owner == address(0) || key == address(0)) revert ZeroAddress();
        if (_owns(owner)) revert AlreadyOpened(owner);
        if (accountCount >> MerkleSum.DEPTH != 0) revert AccountsFull();
        return _open(owner, key);
    }

    /// @inheritdoc ISettlement
    function deposit(uint32 account, uint256 amountNano) external {
        // Escrow of forced orders comes back this way, and nothing that is somebody's waits for a halt to end.
        if (halted() && msg.sender != trading()) revert IsHalted();
        if (account >= accountCount) revert UnknownAccount(account);
        _credit(account, amountNano);
        emit Deposited(account, msg.sender, amountNano);
        _pull(msg.sender, amountNano);
    }

    /// @inheritdoc ISettlement
    function compensate(uint32 account, uint256 amountNano) external onlyGovernance {
        if (account >= accountCount) revert UnknownAccount(account);
        if (amountNano > fundNano) revert ExceedsFree(fundNano);
        fundNano -= amountNano;
        _credit(account, amountNano);
        emit Compensated(account, amountNano);
    }

    /// @inheritdoc ISettlement
    function accountOf(address owner) external view returns (uint32) {
        if (!_owns(owner)) revert UnknownOwner(owner);
        return _accountOf[owner];
    }

    /// @inheritdoc ISettlement
    function ownerOf(uint32 account) public view returns (address) {
        return _parties[account].owner;
    }

    /// @inheritdoc ISettlement
    function keyOf(uint32 account) public view returns (address) {
        return _parties[account].key;
    }

    /// @inheritdoc ISettlement
    function depositedNano(uint32 account) external view returns (uint256) {
        return _parties[account].depositedNano;
    }

    /// @inheritdoc ISettlement
    function withdrawnNano(uint32 account) external view returns (uint256) {
        Party storage party = _parties[account];
        // Casting: nobody's net is more than his deposits.
        return uint256(int256(uint256(party.depositedNano)) - party.netNano);
    }

    /// @inheritdoc ISettlement
    function pooledNano() external view returns (uint256) {
        return _pool.pooledNano;
    }

    /// @inheritdoc ISettlement
    function halted() public view virtual returns (bool);

    /// @inheritdoc ISettlement
    function trading() public view virtual returns (address);

    function _open(address owner, address key) private returns (uint32 account) {
        account = accountCount++;
        _parties[account] = Party(owner, 0, key, 0);
        _accountOf[owner] = account;
        emit AccountOpened(account, owner, key);
    }

    function _owns(address owner) private view returns (bool) {
        return _accountOf[owner] != 0 || owner == governance;
    }

    function _credit(uint32 account, uint256 amountNano) private {
        uint88 amount = _nano(amountNano);
        Party storage party = _parties[account];
        party.netNano += int96(uint96(amount));
        party.depositedNano += amount;
        _pool.pooledNano += amount;
    }

    /// @dev An amount as it is stored. Sums are checked, so that no total ever exceeds its bits.
    function _nano(uint256 amountNano) internal pure returns (uint88) {
        if (amountNano > type(uint88).max) revert ExceedsFree(type(uint88).max);
        return uint88(amountNano);
    }

    function _pull(address from, uint256 amountNano) internal {
        IERC20(token).safeTransferFrom(from, address(this), amountNano * tokenUnitsPerNano);
    }

    function _push(address to, uint256 amountNano) internal {
        IERC20(token).safeTransfer(to, amountNano * tokenUnitsPerNano);
    }
}
